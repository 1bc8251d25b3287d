"""Scores as shares of the full cache's, and paired intervals, resampling prompts within their tasks."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLED = 2000
ENDS = (2.5, 97.5)
Values = NDArray[np.float64]
ByTask = Mapping[str, Sequence[float]]
"""A score a prompt, in the same order for every policy."""


def normalised(scores: ByTask, full: ByTask) -> float:
    """The mean over tasks of Σ scores / Σ scores of the full cache; 1 = as good."""
    return float(np.mean([sum(scores[task]) / sum(full[task]) for task in full]))


def paired95(one: ByTask, other: ByTask, full: ByTask) -> tuple[float, float]:
    """The 95% bootstrap interval of `normalised` of one less that of the other, both on the same resampled prompts."""
    differences: list[Values] = []
    for index, task in enumerate(full):
        table = [np.asarray(scores[task], dtype=np.float64) for scores in (one, other, full)]
        picks = np.random.default_rng([0, index]).integers(0, len(table[0]), size=(RESAMPLED, len(table[0])))
        first, second, whole = (values[picks].sum(axis=1) for values in table)
        differences.append((first - second) / whole)
    low, high = np.percentile(np.mean(differences, axis=0), ENDS)
    return float(low), float(high)
