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
        kept, left_out = guard.nearest((references[place] for place in row), question, count)
        found.append(tuple(int(row[place]) for place in kept))
        dropped += left_out
    return found, dropped
