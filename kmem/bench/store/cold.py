"""Timed reads of random memories from the device: the page cache is told to forget the files first."""

import ctypes
import gc
import mmap
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kmem.bench.store.reads import Tick, buffer
from kmem.bench.store.sides import SIDES
from kmem.bench.store.synthetic import Stored

ATTEMPTS, PAUSE_S = 20, 0.05
"""A page that another processor, or a reader caught in a cycle, has just let go of can stay for a moment."""
_MINCORE = getattr(ctypes.CDLL(None, use_errno=True), "mincore", None)


def forget(files: Sequence[Path]) -> bool:
    """Drop all pages of these files from the page cache → whether the system did it; a file system in memory can't.

    Whoever reads them must have closed them, and everything be flushed to the device: a page that is mapped or changed stays.
    """
    for _ in range(ATTEMPTS):
        for path in files:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if not any(map(_is_cached, files)):
            return True
        gc.collect()
        time.sleep(PAUSE_S)
    return False


def settle(files: Sequence[Path]) -> None:
    """Flush these files to the device."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _is_cached(path: Path) -> bool:
    """Whether any page of the file is in the page cache. By mincore(2), which fetches none: a read that would not wait begins one."""
    size = path.stat().st_size
    if size == 0 or _MINCORE is None:
        return False
    pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        start = np.frombuffer(mapped, dtype=np.uint8)
        failed = _MINCORE(ctypes.c_void_p(start.ctypes.data), ctypes.c_size_t(size), pages)
        del start  # or the map could not be closed
    return not failed and any(page & 1 for page in pages)


def time_cold_reads(
    names: Sequence[str], stored: Stored, count: int, rounds: int, seed: int, tick: Tick = lambda done: None
) -> dict[str, list[float]]:
    """Seconds of the first read of `count` random memories after opening, by each of SIDES; opening is not timed.

    Empty where the page cache can't be emptied.
    """
    generator = np.random.default_rng([seed, count])
    out = buffer(stored, count)
    times: dict[str, list[float]] = {name: [] for name in names}
    settle(stored.files)
    for _ in range(rounds):
        for name in generator.permutation(list(names)).tolist():
            rows = generator.choice(len(stored.ids), count, replace=False).tolist()
            if not forget(stored.files):
                return {}
            side = SIDES[name](stored)
            start = time.perf_counter()
            side.read(rows, out)
            times[name].append(time.perf_counter() - start)
            side.close()
            del side
        tick(1)
    return times
