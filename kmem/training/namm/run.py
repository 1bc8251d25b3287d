"""A whole run: recordings, a start, evolution stage by stage, and what it all was worth; it goes on where it stopped."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from kmem.encoder.load import load_model
from kmem.models.namm.checkpoint import save_namm
from kmem.models.namm.scorer import Namm, vector
from kmem.progress import Progress, silent
from kmem.training.namm.collection import Collection, collect
from kmem.training.namm.course import Course, State
from kmem.training.namm.curve import draw_curve
from kmem.training.namm.population import Alone, Population, workers
from kmem.training.namm.recipe import Recipe
from kmem.training.namm.recording import load_recording
from kmem.training.namm.regime import answered
from kmem.training.namm.start import require_fit, start
from kmem.written import whole_text

TRUE_PROMPTS = 4
"""Judges of each task that the true regime is tried on, at most."""


def begun(file: Path) -> bool:
    """Whether a run that will write `file` was stopped."""
    return checkpoint_of(file).exists() or recordings_of(file).exists()


def checkpoint_of(file: Path) -> Path:
    """What evolution has so far."""
    return file.with_name(f".{file.name}.evolving")


def recordings_of(file: Path) -> Path:
    """A folder; it is deleted when the run is finished."""
    return file.with_name(f".{file.name}.recordings")


def curve_of(file: Path) -> Path:
    """JSON lines, one a generation or judgement."""
    return file.with_suffix(".jsonl")


def evolve(recipe: Recipe, file: Path, *, device: str = "cpu", processes: int = 1, progress: Progress = silent) -> dict[str, Any]:
    """Learn, from where a run of this file stopped, and write `file`, its curve and a picture of it. Returns what is recorded of it.

    processes: that evaluate; the outcome is the same with any number. Raises ConfigError for a checkpoint of another recipe,
    CorruptBankError for one that is damaged, and what loading the model and reading the corpora raise.
    """
    checkpoint, folder = checkpoint_of(file), recordings_of(file)
    state = State.load(checkpoint, recipe) if checkpoint.exists() else State(recipe=recipe)
    model, tokenizer = load_model(recipe.model, device=device, dtype=recipe.dtype)
    require_fit(recipe, model)
    state.save(checkpoint)
    collection = collect(model, tokenizer, recipe, folder, progress=progress)
    namm, losses = start(model, recipe, collection, folder, progress=progress)
    if state.start is None:
        state.begin(vector(namm).double().numpy())
        state.save(checkpoint)
    with ExitStack() as stack:
        population: Population = Alone(model, namm)
        if processes > 1:
            place = folder / "start.safetensors"
            save_namm(namm, place)
            population = stack.enter_context(workers(processes, model=recipe.model, dtype=recipe.dtype, namm_file=place))

        def save(state: State) -> None:
            state.save(checkpoint)
            with whole_text(curve_of(file)) as lines:
                lines.writelines(json.dumps(line) + "\n" for line in state.curve)

        Course(recipe, collection, population, state).run(save, progress=progress)
    best = state.shipped(namm)
    report = {
        **state.report(),
        "losses": losses,
        "true_regime": _true(model, best, collection, progress),
        "parameters": len(vector(best)),
        "recordings": sum(len(paths) for paths in (*collection.learnt.values(), *collection.judges.values())),
    }
    save_namm(best, file, {"recipe": recipe.to_dict(), "report": report})
    draw_curve(state.curve, file.with_suffix(".png"))
    checkpoint.unlink()
    shutil.rmtree(folder)
    return report


def _true(model: PreTrainedModel, namm: Namm, collection: Collection, progress: Progress) -> dict[str, Any]:
    """By task, as shares of the full cache's score, which recordings know; and the cache that was kept."""
    chosen = {name: paths[:TRUE_PROMPTS] for name, paths in collection.judges.items()}
    score: dict[str, float] = {}
    shares: list[float] = []
    done, total = 0, sum(len(paths) for paths in chosen.values())
    progress("true regime", done, total)
    for name, paths in chosen.items():
        reached = full = 0.0
        for path in paths:
            recording = load_recording(path)
            found = answered(model, recording.example, namm)
            reached, full = reached + found.score, full + recording.full
            shares.append(found.share)
            done += 1
            progress("true regime", done, total)
        score[name] = round(reached / full, 4)
    return {"score_of_full": score, "cache_fraction": round(sum(shares) / len(shares), 4)}
