"""A whole run: from a recipe, or where it stopped, to a file with the weights and what they recall."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kmem.errors import CorruptBankError
from kmem.models.bmojo import BMojoForCausalLM
from kmem.progress import Progress, silent
from kmem.training.mqar.recall import recall
from kmem.training.mqar.recipe import Recipe, checked
from kmem.training.mqar.sizing import config_of, sure_reach
from kmem.training.mqar.trainer import Trainer
from kmem.training.stored import read, write

JUDGED = 128
"""Sequences that a finished run is judged by."""
JUDGES_SEED = 1_000_003
LOSSES = 50
"""Steps whose mean is one entry of the history."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A finished run: its model and what was recorded of it."""

    recipe: Recipe
    model: BMojoForCausalLM
    report: dict[str, Any]


def checkpoint_of(file: Path) -> Path:
    """Where the run that will write `file` keeps what it has so far."""
    return file.with_name(f".{file.name}.training")


def train(recipe: Recipe, file: Path, *, device: str = "cpu", progress: Progress = silent) -> dict[str, Any]:
    """Train, from the checkpoint where there is one, write `file` and delete the checkpoint. Returns what is recorded.

    Raises what Trainer.restore does for a checkpoint that is not of this recipe.
    """
    trainer, checkpoint = Trainer(recipe, device=device), checkpoint_of(file)
    if checkpoint.exists():
        trainer.restore(read(checkpoint))

    def save(trainer: Trainer) -> None:
        stored = trainer.state()
        write(checkpoint, stored.tensors, stored.header)

    trainer.run(save, progress=progress)
    report = _report(trainer, progress)
    weights = {name: parameter.to(torch.float16) for name, parameter in trainer.parameters.items()}
    write(file, weights, {"recipe": recipe.to_dict(), "report": report})
    checkpoint.unlink(missing_ok=True)
    return report


def load_trained(file: Path) -> Trained:
    """The model of a file that `train` wrote, in float32. Raises CorruptBankError for a file that is none."""
    stored = read(file)
    try:
        recipe, report = checked(dict(stored.header["recipe"])), dict(stored.header["report"])
        model = BMojoForCausalLM(config_of(recipe)).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(stored.tensors[name])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CorruptBankError(f"{file} is damaged or no finished run of kmem train mqar ({error}); train it again.") from error
    return Trained(recipe=recipe, model=model, report=report)


def _report(trainer: Trainer, progress: Progress) -> dict[str, Any]:
    """What is worth keeping of a run. Accuracies are of the weights in float32, on examples that were not trained on."""
    recipe, losses = trainer.recipe, trainer.losses
    judges = JUDGES_SEED + recipe.seed
    found = recall(trainer.model, recipe.task, JUDGED, seed=judges, name="recall", progress=progress)
    reach = sure_reach(recipe)
    return {
        "accuracy": found.accuracy(),
        "accuracy_in_window": found.accuracy(most=reach),
        "accuracy_beyond": found.accuracy(least=reach + 1),
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "seconds": round(trainer.seconds, 1),
        "skipped_steps": trainer.skipped,
        "losses": [round(sum(part) / len(part), 4) for part in (losses[at : at + LOSSES] for at in range(0, len(losses), LOSSES))],
    }
