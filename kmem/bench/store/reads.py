"""Timed reads of random memories with everything in memory, all sides taking turns."""

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from kmem.bench.store.config import MANY
from kmem.bench.store.sides import Side
from kmem.bench.store.synthetic import Stored
from kmem.errors import CorruptBankError

TURN_S, TURN_READS = 0.02, 8
Tick = Callable[[int], None]
"""Told how many more reads are done."""


def require_equal(sides: Mapping[str, Side], stored: Stored, tick: Tick = lambda done: None) -> None:
    """Read every record by every side and compare the bytes with the memmap's; afterwards all of it is in memory and was verified.

    Raises CorruptBankError naming the side and the row.
    """
    for start in range(0, len(stored.ids), MANY):
        rows = range(start, min(start + MANY, len(stored.ids)))
        expected, out = buffer(stored, len(rows)), buffer(stored, len(rows))
        sides["memmap"].read(rows, expected)
        for name, side in sides.items():
            out.view(np.uint16)[...] = 0xFFFF
            side.read(rows, out)
            same = (out.view(np.uint16) == expected.view(np.uint16)).reshape(len(rows), -1).all(axis=1)
            if not same.all():
                raise CorruptBankError(
                    f"{name} reads other bytes than numpy's memmap at row {start + int(np.argmin(same))} of {stored.bank}: "
                    "times of wrong answers mean nothing, so look for the fault first."
                )
        tick(len(rows))


def time_reads(
    sides: Mapping[str, Side], stored: Stored, count: int, rounds: int, seed: int, tick: Tick = lambda done: None
) -> dict[str, list[float]]:
    """Seconds of reads of `count` random memories by each side, `rounds` of them or more.

    In each round the sides take turns in random order, so that what else the machine does hits all alike. A turn is as many reads as
    fit into TURN_S, from one to TURN_READS, and an untimed one before: after a slow side, a fast one would pay for waking up.
    Every read is of memories drawn anew, which nobody has just brought into the processor's caches.
    """
    generator = np.random.default_rng([seed, count])
    out = buffer(stored, count)
    times: dict[str, list[float]] = {name: [] for name in sides}

    def pick() -> list[int]:
        rows: list[int] = generator.choice(len(stored.ids), count, replace=False).tolist()
        return rows

    for _ in range(rounds):
        for name in generator.permutation(list(sides)).tolist():
            read = sides[name].read
            read(pick(), out)
            turn: list[float] = []
            while not turn or (sum(turn) < TURN_S and len(turn) < TURN_READS):
                rows = pick()
                start = time.perf_counter()
                read(rows, out)
                turn.append(time.perf_counter() - start)
            times[name] += turn
        tick(1)
    return times


def buffer(stored: Stored, count: int) -> NDArray[np.float16]:
    """Room for `count` records, its pages touched."""
    return np.zeros((count, *stored.record_shape), dtype="<f2")
