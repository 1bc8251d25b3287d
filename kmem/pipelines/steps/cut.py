"""Kept chunks of all partitions → shards of equal size: which rows of which partition go where. Of a chunk only its id is in memory."""

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kmem.kstore.place import Place
from kmem.pipelines.drops import dropped_in, store_rows
from kmem.pipelines.ledger import CAME, DROPPED, KEPT, Ledger
from kmem.pipelines.records import ids_of, tokens_of
from kmem.pipelines.steps.chunk import CHUNK
from kmem.pipelines.steps.encode import KEPT_ROWS, ShardTask
from kmem.profile import SPAN_TOKENS

CUT = "cut"
DUPLICATE_ID, OVER_LIMIT = f"{DROPPED}duplicate id", f"{DROPPED}over the limit"
_IDS_A_BLOCK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Cut:
    """ids: [N] of the kept chunks in document order. starts: [P + 1] how many of them lie before each partition.
    lengths: how many of them have 0, 1, 2 … tokens.
    """

    ids: NDArray[np.int64]
    starts: tuple[int, ...]
    tokens: int
    lengths: NDArray[np.int64]
    counts: Counter[str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def content(self) -> int:
        """A 63-bit id of all ids in order: what `content_id` gives for them."""
        digest = hashlib.blake2b(digest_size=8)
        for start in range(0, len(self.ids), _IDS_A_BLOCK):
            block = "\x1f".join(map(str, self.ids[start : start + _IDS_A_BLOCK].tolist()))
            digest.update(f"{chr(31) if start else ''}{block}".encode())
        return int.from_bytes(digest.digest(), "big") >> 1

    def shards(self, rows_per_shard: int) -> list[ShardTask]:
        """Tasks of `rows_per_shard` consecutive chunks each, the last one shorter."""
        return [
            ShardTask(index=index, rows=min(rows_per_shard, len(self) - first), spans=tuple(self._spans(first, rows_per_shard)))
            for index, first in enumerate(range(0, len(self), rows_per_shard))
        ]

    def _spans(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        end = min(first + count, len(self))
        partition = bisect_right(self.starts, first) - 1
        while first < end:
            start, after = self.starts[partition], self.starts[partition + 1]
            last = min(end, after)
            if first < last:
                yield partition, first - start, last - start
                first = last
            partition += 1


def cut_shards(place: Place, partitions: int, drops: Sequence[str], limit: int | None) -> Cut:
    """Decide which chunks are kept, and write their rows a partition: not dropped, the first of its id, among the first `limit`."""
    ledger, counts = Ledger(place, CHUNK), Counter[str]()
    rows, ids = [], []
    for index in range(partitions):
        own = ids_of(place, ledger.file(index, "parquet"))
        left = np.setdiff1d(np.arange(len(own)), np.fromiter(dropped_in(place, drops, index), dtype=np.int64), assume_unique=True)
        rows.append(left)
        ids.append(own[left])
    every = np.concatenate(ids) if ids else np.empty(0, dtype=np.int64)
    first = np.zeros(len(every), dtype=bool)
    first[np.unique(every, return_index=True)[1]] = True
    counts[CAME], counts[DUPLICATE_ID] = len(every), int(np.count_nonzero(~first))
    kept = np.flatnonzero(first)
    if limit is not None:
        counts[OVER_LIMIT] = max(0, len(kept) - limit)
        kept = kept[:limit]
    counts[KEPT] = len(kept)
    chosen = np.zeros(len(every), dtype=bool)
    chosen[kept] = True
    starts, before, lengths = [0], 0, np.zeros(SPAN_TOKENS + 1, dtype=np.int64)
    for index, left in enumerate(rows):
        own_rows = left[chosen[before : before + len(left)]]
        store_rows(place, Ledger(place, KEPT_ROWS).file(index, "npy"), own_rows)
        lengths += np.bincount(tokens_of(place, ledger.file(index, "parquet"))[own_rows], minlength=len(lengths))
        starts.append(starts[-1] + len(own_rows))
        before += len(left)
    tokens = int((lengths * np.arange(len(lengths))).sum())
    return Cut(ids=every[kept], starts=tuple(starts), tokens=tokens, lengths=lengths, counts=counts)
