"""What a run would take, from one step of it."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from kmem.training.mqar.recipe import Recipe
from kmem.training.mqar.sizing import held_bytes
from kmem.training.mqar.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """parameters: of the model. held_bytes: after a sequence, by part. step_s: seconds of a step. all_s: of all steps."""

    parameters: int
    held_bytes: dict[str, int]
    step_s: float
    all_s: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def estimate(recipe: Recipe, *, device: str = "cpu") -> Estimate:
    """Makes two steps and times the second."""
    trainer = Trainer(recipe, device=device)
    trainer.advance()
    began = time.perf_counter()
    trainer.advance()
    step_s = time.perf_counter() - began
    return Estimate(
        parameters=sum(parameter.numel() for parameter in trainer.model.parameters()),
        held_bytes=held_bytes(recipe),
        step_s=step_s,
        all_s=step_s * recipe.schedule.steps,
    )
