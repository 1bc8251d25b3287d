"""From a memory's id to its place: ids of all shards, in the order written and sorted."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kmem.errors import MemoryNotFoundError

INT64 = np.iinfo(np.int64)
FEW = 16


class Ids:
    """Ids of shards of `rows` memories each; `of_shard(number)` gives those of one. Read when first needed. Safe to use from threads."""

    def __init__(self, rows: Sequence[int], of_shard: Callable[[int], NDArray[np.int64]]) -> None:
        self._rows, self._of_shard = tuple(rows), of_shard
        self._starts = [0]
        for count in self._rows:
            self._starts.append(self._starts[-1] + count)

    @cached_property
    def all(self) -> NDArray[np.int64]:
        """[N] id at each position, counted over all shards."""
        found = np.empty(self._starts[-1], dtype=np.int64)
        for number, start in enumerate(self._starts[:-1]):
            found[start : start + self._rows[number]] = self._of_shard(number)
        return found

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        order = np.argsort(self.all, kind="stable")
        return self.all[order], order

    @cached_property
    def _views(self) -> tuple[memoryview, memoryview]:
        ascending, order = self._sorted
        return ascending.data, order.data

    def positions(self, ids: Sequence[int]) -> list[int]:
        """Position of each id, in the order given. Raises MemoryNotFoundError naming the first unknown id."""
        ascending, order = self._sorted
        if len(ids) <= FEW:
            return self._positions_of_few(ids)
        try:
            wanted = np.array(ids, dtype=np.int64).reshape(-1)
        except OverflowError:
            wanted = np.array([value if INT64.min <= value <= INT64.max else -1 for value in ids], dtype=np.int64)
        at = ascending.searchsorted(wanted)
        found = ascending.take(at, mode="clip") == wanted if len(ascending) else np.zeros(len(wanted), dtype=bool)
        if not found.all():
            raise MemoryNotFoundError(f"The bank holds no memory with id {ids[int(np.argmin(found))]}; kmem query lists ids.")
        positions: list[int] = order[at].tolist()
        return positions

    def _positions_of_few(self, ids: Sequence[int]) -> list[int]:
        """One bisection an id: numpy's own overhead is longer than five of them."""
        ascending, order = self._views
        found = []
        for memory_id in ids:
            at = bisect_left(ascending, memory_id)
            if at == len(ascending) or ascending[at] != memory_id:
                raise MemoryNotFoundError(f"The bank holds no memory with id {memory_id}; kmem query lists ids.")
            found.append(order[at])
        return found

    def locate(self, position: int) -> tuple[int, int]:
        """Shard (its place in the sequence) and row within it."""
        number = bisect_right(self._starts, position) - 1
        return number, position - self._starts[number]
