"""What a run would take, from one step of it."""

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from kmem.progress import Progress, silent
from kmem.training.memory.recipe import Recipe
from kmem.training.memory.run import prepare

PASSAGES = 64
"""Enough for two steps; all of them would be searched first."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """parameters: that are trained. examples, references and tokens: of the step that was timed, the teacher's tokens apart.
    step_s: seconds of it. all_s: of all steps; looks at what is held out, and searches for running text, come on top.
    """

    parameters: int
    examples: int
    references: int
    tokens: int
    taught_tokens: int
    step_s: float
    all_s: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def estimate(recipe: Recipe, *, device: str = "cpu", progress: Progress = silent) -> Estimate:
    """Makes two steps on a few passages and times the second. Raises what `prepare` does."""
    few = replace(recipe, data=replace(recipe.data, passages=min(PASSAGES, recipe.data.passages)))
    setting = prepare(few, None, device=device, progress=progress)
    trainer, accumulate = setting.trainer, recipe.training.accumulate
    progress("step", 0, 2)
    trainer.advance()
    progress("step", 1, 2)
    began = time.perf_counter()
    trainer.advance()
    step_s = time.perf_counter() - began
    progress("step", 2, 2)
    examples = [example for number in range(accumulate, 2 * accumulate) for example in setting.lessons.batch(number)]
    taught = [example for example in examples if example.taught is not None and recipe.losses.distillation]
    return Estimate(
        parameters=sum(parameter.numel() for parameter in trainer.trained.parameters.values()),
        examples=len(examples),
        references=sum(len(example.references) for example in examples),
        tokens=sum(len(example.context) + len(example.target) for example in examples),
        taught_tokens=sum(len(example.taught or ()) + len(example.target) for example in taught),
        step_s=step_s,
        all_s=step_s * recipe.training.steps,
    )
