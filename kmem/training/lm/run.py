"""A whole comparison: each variant trained, or gone on with, and judged; a file each in one folder."""

import math
from pathlib import Path
from typing import Any

import torch

from kmem.errors import ConfigError
from kmem.options import differing
from kmem.progress import Progress, silent
from kmem.training.lm.perplexity import perplexity
from kmem.training.lm.recipe import BASE, MULTIPLES, Recipe
from kmem.training.lm.texts import Texts, read_texts
from kmem.training.lm.trainer import Trainer
from kmem.training.stored import read, write

AT_MOST = {"over_transformer": 1.03, "at_4x_over_own": 1.0}
"""What issue 8 asks of `bmojo`."""
LOSSES = 20
"""Steps whose mean is one entry of the history."""
PLACES = 4


def file_of(folder: Path, variant: str) -> Path:
    """What a finished run leaves."""
    return folder / f"{variant}.safetensors"


def checkpoint_of(folder: Path, variant: str) -> Path:
    """Where a run keeps what it has so far."""
    return folder / f".{variant}.training"


def begun(folder: Path, recipe: Recipe) -> bool:
    """Whether there is anything of these runs."""
    return any(place(folder, variant).exists() for variant in recipe.variants for place in (file_of, checkpoint_of))


def compare(recipe: Recipe, folder: Path, *, device: str = "cpu", progress: Progress = silent) -> dict[str, Any]:
    """Train what is not finished yet, one after another, and say how they compare (`figures`).

    Raises ConfigError for a file of another recipe, and what Trainer.restore and reading the texts raise.
    """
    texts = read_texts(recipe.data, least=recipe.training.tokens)
    reports = {variant: _trained(recipe, variant, texts, folder, device, progress) for variant in recipe.variants}
    return {**figures(reports), "bytes_per_token": round(texts.bytes_per_token, PLACES), "recipe": recipe.to_dict()}


def figures(reports: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`models`: each one's report, with its perplexity by length. `over_transformer`: of `bmojo`, at the length that was trained on;
    `at_4x_over_own`: of `bmojo`, at four times that over its own there.
    """
    found: dict[str, Any] = {}
    if BASE in reports:
        own = list(reports[BASE]["perplexity"].values())
        found["at_4x_over_own"] = round(own[MULTIPLES.index(4)] / own[0], PLACES)
        for name in (name for name in reports if name != BASE):
            found[f"over_{name}"] = round(own[0] / next(iter(reports[name]["perplexity"].values())), PLACES)
    return {**found, "asked_at_most": AT_MOST, "models": reports}


def _trained(recipe: Recipe, variant: str, texts: Texts, folder: Path, device: str, progress: Progress) -> dict[str, Any]:
    """The report of a finished run, or of one that is finished now."""
    file, checkpoint = file_of(folder, variant), checkpoint_of(folder, variant)
    settings = {**recipe.to_dict(), "variants": [variant]}
    if file.exists():
        header = read(file).header
        changed = differing(header.get("recipe", {}), settings)
        if changed:
            raise ConfigError(f"{file} was made with other settings: {'; '.join(changed)}; give the same again, or another folder.")
        report: dict[str, Any] = header["report"]
        return report
    trainer = Trainer(recipe, variant, texts, device=device)
    if checkpoint.exists():
        trainer.restore(read(checkpoint))

    def save(trainer: Trainer) -> None:
        stored = trainer.state()
        write(checkpoint, stored.tensors, stored.header)

    trainer.run(save, progress=progress)
    report = _report(trainer, progress)
    weights = {name: parameter.to(torch.float16) for name, parameter in trainer.parameters.items()}
    write(file, weights, {"recipe": settings, "report": report})
    checkpoint.unlink(missing_ok=True)
    return report


def _report(trainer: Trainer, progress: Progress) -> dict[str, Any]:
    """What is worth keeping of a run; perplexities are of the weights in float32."""
    training, losses = trainer.recipe.training, trainer.losses
    found = {}
    progress(f"judge {trainer.name}", 0, len(MULTIPLES))
    for done, multiple in enumerate(MULTIPLES, 1):
        length = multiple * training.tokens
        found[str(length)] = round(perplexity(trainer.model, trainer.texts.judged, length, every=training.tokens), PLACES)
        progress(f"judge {trainer.name}", done, len(MULTIPLES))
    return {
        "perplexity": found,
        "bits_per_byte": round(math.log2(found[str(training.tokens)]) / trainer.texts.bytes_per_token, PLACES),
        "parameters": sum(parameter.numel() for parameter in trainer.parameters.values()),
        "layers": trainer.model.config.num_hidden_layers,
        "mlp": trainer.model.config.intermediate_size,
        "tokens": training.steps * training.batch_size * training.tokens,
        "seconds": round(trainer.seconds, 1),
        "skipped_steps": trainer.skipped,
        "losses": [round(sum(part) / len(part), PLACES) for part in (losses[at : at + LOSSES] for at in range(0, len(losses), LOSSES))],
    }
