"""Where evolution starts: statistics, a regression, then distillation; the outcome of each is a file of its own."""

from pathlib import Path

from transformers import PreTrainedModel

from kmem.encoder.anatomy import examine
from kmem.errors import ConfigError
from kmem.models.namm.checkpoint import load_namm, notes_of, save_namm
from kmem.models.namm.scorer import Namm
from kmem.progress import Progress, silent
from kmem.training.namm.collection import Collection, statistics
from kmem.training.namm.distillation import Distiller
from kmem.training.namm.recipe import Recipe
from kmem.training.namm.recording import load_recording
from kmem.training.namm.regression import regress
from kmem.training.stored import read, write

LOSSES = 50
"""Steps whose mean is one entry of what is told of losses."""
PLACES = 5


def start(
    model: PreTrainedModel, recipe: Recipe, collection: Collection, folder: Path, *, progress: Progress = silent
) -> tuple[Namm, dict[str, list[float]]]:
    """The NAMM that evolution starts with, from where its making stopped; and the losses of each part."""
    namm, regression = _regressed(recipe, collection, folder / "regression.safetensors", progress)
    if not recipe.distillation.steps:
        return namm, {"regression": regression}
    namm, distillation = _distilled(model, namm, recipe, collection, folder, progress)
    return namm, {"regression": regression, "distillation": distillation}


def require_fit(recipe: Recipe, model: PreTrainedModel) -> None:
    """Raise ConfigError where heads are to have biases of their own, and the model has other heads."""
    asked, anatomy = (recipe.namm.layers, recipe.namm.heads), examine(model)
    there = (anatomy.layers, anatomy.heads)
    if asked not in ((0, 0), there):
        raise ConfigError(
            f"namm.layers and namm.heads are {asked[0]} and {asked[1]}, but {recipe.model} has {there[0]} layers of {there[1]} "
            "key-value heads; give these, or 0 and 0 for one network for all heads."
        )


def _regressed(recipe: Recipe, collection: Collection, place: Path, progress: Progress) -> tuple[Namm, list[float]]:
    if not place.exists():
        paths = collection.all_learnt
        namm, losses = statistics(Namm(recipe.namm), paths), list[float]()
        if recipe.regression.steps:
            recordings, share = [load_recording(path) for path in paths], recipe.size.share
            namm, losses = regress(namm, recordings, recipe.regression, share=share, seed=recipe.seed, progress=progress)
        save_namm(namm, place, {"losses": _means(losses)})
    return load_namm(place), notes_of(place)["losses"]


def _distilled(
    model: PreTrainedModel, namm: Namm, recipe: Recipe, collection: Collection, folder: Path, progress: Progress
) -> tuple[Namm, list[float]]:
    place, waiting = folder / "distillation.safetensors", folder / "distilling.safetensors"
    if not place.exists():
        distiller = Distiller(model, namm, collection.all_learnt, recipe.distillation, share=recipe.size.share, seed=recipe.seed)
        if waiting.exists():
            distiller.restore(read(waiting))

        def save(distiller: Distiller) -> None:
            state = distiller.state()
            write(waiting, state.tensors, state.header)

        found = distiller.run(save, progress=progress)
        save_namm(found, place, {"losses": _means(distiller.losses)})
    return load_namm(place), notes_of(place)["losses"]


def _means(losses: list[float]) -> list[float]:
    parts = (losses[at : at + LOSSES] for at in range(0, len(losses), LOSSES))
    return [round(sum(part) / len(part), PLACES) for part in parts]
