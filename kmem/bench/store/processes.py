"""Several processes reading random memories at once, kmem against the memmap: what many readers of one bank get together."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.synchronize import Barrier

import numpy as np

from kmem.bench.store.config import MANY, StoreConfig
from kmem.bench.store.reads import Tick, buffer, require_equal
from kmem.bench.store.sides import SIDES
from kmem.bench.store.synthetic import Stored

COMPARED = ("memmap", "kmem")
PATIENCE_S = 120.0
READS = 4
"""Reads of a turn: long enough that starting together a little apart does not matter."""

_barrier: Barrier


def time_processes(config: StoreConfig, stored: Stored, tick: Tick = lambda done: None) -> dict[str, list[float]]:
    """Seconds from the first start to the last end of `config.processes` processes that read 4 × 160 memories each, side by side.

    The processes wait for each other before each of `config.process_rounds` turns of each side, and each has compared every record
    with the memmap's before the first. Raises CorruptBankError, from any of them, for an answer that differs.
    """
    context = multiprocessing.get_context("forkserver")  # a fork of this process would inherit the threads of tensorstore
    context.set_forkserver_preload([__name__])
    barrier = context.Barrier(config.processes, timeout=PATIENCE_S)
    with ProcessPoolExecutor(config.processes, mp_context=context, initializer=_meet, initargs=(barrier,)) as pool:
        tasks = [pool.submit(_read, config, stored, number) for number in range(config.processes)]
        spans = []
        for task in as_completed(tasks):
            spans.append(task.result())
            tick(1)
    table = np.array(spans)  # [processes, rounds, sides, (start, end)]
    walls = table[..., 1].max(axis=0) - table[..., 0].min(axis=0)
    return {name: walls[:, place].tolist() for place, name in enumerate(COMPARED)}


def _meet(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _read(config: StoreConfig, stored: Stored, number: int) -> list[list[tuple[float, float]]]:
    """[rounds][sides] (start, end) on the clock that all processes share."""
    try:
        return _turns(config, stored, number)
    except BaseException:
        _barrier.abort()  # or the others would wait for this one
        raise


def _turns(config: StoreConfig, stored: Stored, number: int) -> list[list[tuple[float, float]]]:
    sides = {name: SIDES[name](stored) for name in COMPARED}
    require_equal(sides, stored)
    generator = np.random.default_rng([config.seed, number])
    out = buffer(stored, MANY)
    spans = []
    for _ in range(config.process_rounds):
        turn = []
        for name in COMPARED:
            first, *rest = [generator.choice(len(stored.ids), MANY, replace=False).tolist() for _ in range(1 + READS)]
            sides[name].read(first, out)
            _barrier.wait()
            start = time.monotonic()
            for rows in rest:
                sides[name].read(rows, out)
            turn.append((start, time.monotonic()))
        spans.append(turn)
    for side in sides.values():
        side.close()
    return spans
