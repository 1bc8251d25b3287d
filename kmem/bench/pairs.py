"""Fair comparison on a machine that others use, too: every side in every round, in rotated order, and ratios within a round."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TypeVar

T = TypeVar("T")
PLACES = 4


def in_turn(sides: Mapping[str, Callable[[], T]], rounds: int, tick: Callable[[int], None] = lambda done: None) -> dict[str, list[T]]:
    """What every side returned in every round; each round begins with the side after the one that began the last. `tick`: rounds done."""
    names = list(sides)
    found: dict[str, list[T]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in (*names[first:], *names[:first]):
            found[name].append(sides[name]())
        tick(turn + 1)
    return found


def paired(over: Sequence[float], under: Sequence[float]) -> float:
    """The median of the ratios of two sides within each round."""
    return round(median(one / other for one, other in zip(over, under, strict=True)), PLACES)


def timed(work: Callable[[], object], clock: Callable[[], float] | None = None) -> float:
    """Seconds that `work` takes, by `clock`, which else is the time that passes."""
    clock = clock or time.perf_counter
    began = clock()
    work()
    return clock() - began
