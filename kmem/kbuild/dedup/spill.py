"""Arrays that are too large for memory, in temporary files that are mapped: the kernel takes their pages back when it needs them."""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

IN_MEMORY_BYTES = 256 << 20


class Spill:
    """Gives out arrays of zeros, each above `IN_MEMORY_BYTES` in a file of its own, where temporary files are (TMPDIR)."""

    def __init__(self) -> None:
        self._maps: list[mmap.mmap] = []

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if size <= IN_MEMORY_BYTES:
            return np.zeros(shape, dtype)
        with TemporaryFile(prefix="kmem-dedup-") as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is told now: a map could only end the process
            self._maps.append(mmap.mmap(file.fileno(), size))  # it keeps the file
        return np.frombuffer(self._maps[-1], dtype).reshape(shape)

    def let_go(self) -> None:
        """What was touched need not stay in memory; it is read again when it is asked for."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)


@contextmanager
def spilling() -> Iterator[Spill]:
    """The files are gone as soon as nobody uses their arrays."""
    spill = Spill()
    try:
        yield spill
    finally:
        spill._maps.clear()
