"""Timed reads of random memories from the device: the page cache is told to forget the files first."""

import gc
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
LOOKED_AT = 16
"""Bytes of a file that are asked for, evenly spread."""


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
    """Whether any of a few bytes, from the first to the last, can be read without waiting for the device."""
    last = max(0, path.stat().st_size - 1)
    with path.open("rb") as file:
        return any(_is_there(file.fileno(), last * place // (LOOKED_AT - 1)) for place in range(LOOKED_AT))


def _is_there(descriptor: int, offset: int) -> bool:
    try:
        return os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except OSError:  # EAGAIN: it is on the device; EOPNOTSUPP: the file system can't say, and has a device
        return False


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
