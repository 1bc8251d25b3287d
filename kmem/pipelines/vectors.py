"""The vectors of all shards as one array [N, dim]: in memory where they are few, else in a file that is mapped."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from kmem.errors import CorruptBankError
from kmem.pipelines.receipts import Receipts

IN_MEMORY_BYTES = 256 << 20


@contextmanager
def all_vectors(receipts: Receipts, rows: Sequence[int], dim: int) -> Iterator[NDArray[np.float32]]:
    """[N, dim] of shards of so many rows. The file, of N · dim · 4 bytes, is a temporary one."""
    if sum(rows) * dim * 4 <= IN_MEMORY_BYTES:
        yield np.concatenate([shard_vectors(receipts, index, count) for index, count in enumerate(rows)])
        return
    with TemporaryDirectory(prefix="kmem-vectors-") as folder:
        mapped = np.memmap(Path(folder) / "vectors", dtype=np.float32, mode="w+", shape=(sum(rows), dim))
        start = 0
        for index, count in enumerate(rows):
            mapped[start : start + count] = shard_vectors(receipts, index, count)
            start += count
        yield mapped


def shard_vectors(receipts: Receipts, index: int, rows: int) -> NDArray[np.float32]:
    """[rows, dim] of one shard. Raises CorruptBankError."""
    vectors = receipts.vectors(index, rows=rows)
    if vectors is None:
        raise CorruptBankError(f"The vectors of shard {index} of {receipts.place} are damaged; repeat the build with --resume.")
    return vectors
