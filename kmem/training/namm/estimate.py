"""What a run would take, from one prompt of it."""

import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kmem.encoder.load import load_model
from kmem.models.namm.scorer import Namm, vector
from kmem.training.namm.collection import prompts
from kmem.training.namm.distillation import Distiller
from kmem.training.namm.population import Alone
from kmem.training.namm.recipe import Recipe
from kmem.training.namm.record import record
from kmem.training.namm.regression import started
from kmem.training.namm.start import require_fit


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """parameters: of the NAMM. recordings: prompts, and recordings_bytes on disk meanwhile. record_s, step_s, member_s: seconds of a prompt
    to be recorded, of a step of the distillation and of one member, both on the longest prompt. all_s: of everything but the regression,
    by `processes`.
    """

    parameters: int
    recordings: int
    recordings_bytes: int
    record_s: float
    step_s: float
    member_s: float
    all_s: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def estimate(recipe: Recipe, *, device: str = "cpu", processes: int = 1) -> Estimate:
    """Records one prompt of the first task, and evaluates a population on it, in this process; nothing stays."""
    model, tokenizer = load_model(recipe.model, device=device, dtype=recipe.dtype)
    require_fit(recipe, model)
    tasks, evolution = recipe.tasks, recipe.evolution
    one = replace(tasks, names=tasks.names[:1], tokens=(max(tasks.tokens),))
    example = prompts(tokenizer, one, 1, held_out=False, seed=recipe.seed)[tasks.names[0]][0]
    namm = started(Namm(recipe.namm), seed=recipe.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.safetensors"
        began = time.perf_counter()
        record(model, example, namm).save(path)
        record_s = time.perf_counter() - began
        size = path.stat().st_size
        distiller = Distiller(model, namm, [path], replace(recipe.distillation, steps=1), share=recipe.size.share, seed=recipe.seed)
        began = time.perf_counter()
        if recipe.distillation.steps:
            distiller.run()
        step_s = time.perf_counter() - began
        members = np.tile(vector(namm).double().numpy(), (evolution.population, 1))
        began = time.perf_counter()
        Alone(model, namm)(members, [path])
        member_s = (time.perf_counter() - began) / evolution.population
    count, stages = len(tasks.names), len(tasks.names)
    recordings = count * (tasks.prompts + tasks.judges)
    asked = evolution.generations * evolution.prompts * sum(range(1, stages + 1)) * (evolution.population + 1)
    judged = (1 + stages * -(-evolution.generations // evolution.judged)) * count * tasks.judges
    return Estimate(
        parameters=len(vector(namm)),
        recordings=recordings,
        recordings_bytes=recordings * size,
        record_s=round(record_s, 3),
        step_s=round(step_s, 3),
        member_s=round(member_s, 4),
        all_s=round(recordings * record_s + recipe.distillation.steps * step_s + (asked + judged) * member_s / processes, 1),
    )
