"""The share of the text's gain, and how sure it is: resampling the articles that were asked about."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLED = 2000
LOW = 2.5
"""Percentile at the lower end of a two-sided 95% interval."""

Share = dict[str, float | None]


def shares(losses: Mapping[str, Sequence[float]]) -> tuple[Share, Share]:
    """(nothing − x) / (nothing − text) of summed losses for every way but those two, and the lower end of its 95% bootstrap interval.

    losses: nats of each article, in the same order for every way. Where the text gains nothing there is no share of it: None; where some
    resampling gains nothing, there is no interval: its end is None.
    """
    table = {name: np.asarray(values, dtype=np.float64) for name, values in losses.items()}
    nothing, text = table.pop("nothing"), table.pop("text")
    picks = np.random.default_rng(0).integers(0, len(nothing), size=(RESAMPLED, len(nothing)))
    gain, gains = (nothing - text).sum(), (nothing - text)[picks].sum(axis=1)
    share: Share = {name: float((nothing - values).sum() / gain) if gain > 0 else None for name, values in table.items()}
    low: Share = {name: _low((nothing - values)[picks].sum(axis=1), gains) if gain > 0 else None for name, values in table.items()}
    return share, low


def _low(gained: NDArray[np.float64], gains: NDArray[np.float64]) -> float | None:
    return float(np.percentile(gained / gains, LOW)) if gains.min() > 0 else None
