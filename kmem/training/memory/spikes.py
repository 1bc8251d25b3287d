"""A guard against the loss spikes that ended Memory³'s training: a step that is far off changes nothing."""

import math
from collections.abc import Sequence
from statistics import median

from kmem.training.memory.recipe import TrainingConfig

LEAST = 8
"""Accepted losses before there is a median to go by."""


def is_spike(training: TrainingConfig, loss: float, norm: float, accepted: Sequence[float]) -> bool:
    """Whether a step of this loss and norm of the gradient is to be passed over; accepted: losses of the steps that were not."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return True
    recent = accepted[-training.spike_window :]
    return training.spike != "off" and len(recent) >= LEAST and loss > training.spike_factor * median(recent)
