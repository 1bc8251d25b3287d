"""The share of the text's gain, and how sure it is: resampling the articles that were asked about."""

from collections.abc import Mapping, Sequence

import numpy as np

RESAMPLED = 2000
LOW = 2.5
"""Percentile at the lower end of a two-sided 95% interval."""


def shares(losses: Mapping[str, Sequence[float]]) -> tuple[dict[str, float], dict[str, float]]:
    """(nothing − x) / (nothing − text) of summed losses for every way but those two, and the lower end of its 95% bootstrap interval.

    losses: nats of each article, in the same order for every way.
    """
    table = {name: np.asarray(values, dtype=np.float64) for name, values in losses.items()}
    nothing, text = table.pop("nothing"), table.pop("text")
    picks = np.random.default_rng(0).integers(0, len(nothing), size=(RESAMPLED, len(nothing)))
    gain, gains = (nothing - text).sum(), (nothing - text)[picks].sum(axis=1)
    share = {name: float((nothing - values).sum() / gain) for name, values in table.items()}
    low = {name: float(np.percentile((nothing - values)[picks].sum(axis=1) / gains, LOW)) for name, values in table.items()}
    return share, low
