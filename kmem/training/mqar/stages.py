"""What a step learns from, and how fast."""

import math
from dataclasses import dataclass, replace

from kmem.training.mqar.recipe import Recipe, TrainingConfig
from kmem.training.mqar.task import TaskConfig


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The task of a step, and sequences of its batch."""

    task: TaskConfig
    batch_size: int


def stage(recipe: Recipe, step: int) -> Stage:
    """The recipe's task, or while the curriculum lasts a shorter one with fewer pairs."""
    training, task = recipe.training, recipe.task
    number = step // training.curriculum_steps if training.curriculum_steps else len(training.curriculum)
    if number >= len(training.curriculum):
        return Stage(task=task, batch_size=training.batch_size)
    pairs = training.curriculum[number]
    tokens = max(4 * pairs, task.tokens * pairs // task.pairs // 2 * 2)
    return Stage(task=replace(task, pairs=pairs, tokens=tokens), batch_size=max(1, training.batch_size * task.tokens // tokens))


def learning_rate(training: TrainingConfig, step: int) -> float:
    """Up in a straight line, then down as half a cosine to 0."""
    if step < training.warmup_steps:
        return training.learning_rate * (step + 1) / training.warmup_steps
    done = (step - training.warmup_steps) / max(1, training.steps - training.warmup_steps)
    return training.learning_rate * (1 + math.cos(math.pi * done)) / 2
