"""Warmup–stable–decay: the rate rises in a straight line, stays, and falls in a straight line to 0."""

from kmem.training.memory.recipe import TrainingConfig


def learning_rate(training: TrainingConfig, step: int) -> float:
    """Of the step with this number, from 0."""
    decaying = round(training.decay * training.steps)
    rising = min(1.0, (step + 1) / max(1, training.warmup_steps))
    falling = min(1.0, (training.steps - step) / decaying) if decaying else 1.0
    return training.learning_rate * min(rising, falling)
