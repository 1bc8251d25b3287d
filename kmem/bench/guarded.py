"""What a benchmark retrieves, without references that hold the question itself."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kmem.leak.guard import LeakGuard
from kmem.leak.overlap import Tokens


def nearest(
    scores: NDArray[np.float32], references: Sequence[Tokens], questions: Sequence[Tokens], *, count: int, guard: LeakGuard
) -> tuple[list[tuple[int, ...]], int]:
    """For every question the places of the `count` best references that the guard keeps, best first, and how many it dropped for them.

    scores [questions, references], higher = nearer, ties by place. A dropped reference makes room for the next one.
    """
    found, dropped = [], 0
    for row, question in zip(np.argsort(-scores, axis=1, kind="stable"), questions, strict=True):
        kept: list[int] = []
        for place in map(int, row):
            if len(kept) == count:
                break
            if guard.keeps(references[place], question):
                kept.append(place)
            else:
                dropped += 1
        found.append(tuple(kept))
    return found, dropped
