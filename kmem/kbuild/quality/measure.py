"""How well scores agree with labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

BINS = 10
"""Of equal width, for the calibration error."""

Numbers = NDArray[np.float64]


def agreement(targets: Numbers, scores: Numbers) -> dict[str, Any]:
    """Of targets and scores [N] in 0 … 1: `rows`, `accuracy`, `auc`, `correlation`, `rank_correlation`, `brier`, `calibration_error`.

    Accuracy: same side of the middle. AUC: how often a row above the middle outscores one that is not. Calibration error: |mean score −
    mean target| over ten bins of scores, weighted by rows. None where the rows do not define it.
    """
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    gaps = [abs(scores[bins == one].mean() - targets[bins == one].mean()) * (bins == one).sum() for one in np.unique(bins)]
    return {
        "rows": len(targets),
        "accuracy": float(((targets > 0.5) == (scores > 0.5)).mean()),
        "auc": auc(targets > 0.5, scores),
        "correlation": _correlation(targets, scores),
        "rank_correlation": _correlation(rankdata(targets), rankdata(scores)),
        "brier": float(((targets - scores) ** 2).mean()),
        "calibration_error": float(sum(gaps) / len(targets)),
    }


def auc(above: NDArray[np.bool_], scores: Numbers) -> float | None:
    """The share of pairs of both kinds in which the one above has the higher score, ties half."""
    ones = int(above.sum())
    zeros = len(above) - ones
    if not ones or not zeros:
        return None
    return float((rankdata(scores)[above].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def _correlation(a: Numbers, b: Numbers) -> float | None:
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else None
