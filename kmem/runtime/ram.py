"""The RAM tier: the records used last, as they are stored, within a budget of bytes."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Taken(NamedTuple):
    """What `RamTier.take` did: the places of `ids` that it does not hold, and how many of the others nobody had used before."""

    missing: list[int]
    first_used: int


class RamTier:
    """At most `budget_bytes` of records of one shape, least recently used out first. Safe to use from threads.

    Records stay quantised: more of them fit, and no thread but the reader's decodes. `most`: records there are at all.
    A record larger than the budget is never kept. The memory is touched, and so taken, as records come.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], *, budget_bytes: int, most: int) -> None:
        self._shape, self._dtype = shape, dtype
        self.capacity = min(most, budget_bytes // max(1, math.prod(shape) * dtype.itemsize))
        self._lock = Lock()
        self.clear()

    def clear(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._row: OrderedDict[int, int] = OrderedDict()
            self._unused: set[int] = set()
            self._arena: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self._row)

    def lacking(self, ids: Sequence[int]) -> list[int]:
        """The ids that are not here, in the order given; nothing counts as used."""
        with self._lock:
            return [memory_id for memory_id in ids if memory_id not in self._row]

    def take(self, ids: Sequence[int], out: NDArray[Any], places: Sequence[int]) -> Taken:
        """Copy the records of `ids[place]`, where they are here, to `out[place]`: [n, *record]. They are then the ones used last."""
        missing: list[int] = []
        first_used = 0
        with self._lock:
            for place in places:
                row = self._row.get(ids[place])
                if row is None or self._arena is None:
                    missing.append(place)
                    continue
                out[place] = self._arena[row]
                self._row.move_to_end(ids[place])
                if ids[place] in self._unused:
                    self._unused.remove(ids[place])
                    first_used += 1
        return Taken(missing, first_used)

    def keep(self, ids: Sequence[int], records: NDArray[Any], *, used: bool = True) -> None:
        """Hold records [n, *record], for which others go where the budget asks for it. `used=False`: they were read on suspicion."""
        if not self.capacity:
            return
        with self._lock:
            if self._arena is None:
                self._arena = np.empty((self.capacity, *self._shape), dtype=self._dtype)
            for memory_id, record in zip(ids, records, strict=True):
                if memory_id in self._row:
                    continue
                self._arena[self._place_for(memory_id)] = record
                if not used:
                    self._unused.add(memory_id)

    def _place_for(self, memory_id: int) -> int:
        row = len(self._row)
        if row == self.capacity:
            oldest, row = self._row.popitem(last=False)
            self._unused.discard(oldest)
        self._row[memory_id] = row
        return row
