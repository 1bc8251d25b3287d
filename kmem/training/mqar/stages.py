"""What a step learns from."""

from dataclasses import dataclass, replace

from kmem.training.mqar.recipe import Recipe
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
