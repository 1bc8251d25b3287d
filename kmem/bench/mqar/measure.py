"""Recall of pairs outside every window, and inside each variant's own; by distance; and by the size of the store."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import mean
from typing import Any

from kmem.bench.mqar.banked import banked_recall
from kmem.bench.mqar.config import ENOUGH, MqarConfig
from kmem.bench.mqar.runs import Runs
from kmem.errors import MeasurementError
from kmem.models.bmojo import BMojoForCausalLM
from kmem.models.bmojo.variants import EIDETIC
from kmem.progress import Progress, silent
from kmem.training.mqar.recall import Recall, recall
from kmem.training.mqar.recipe import Recipe
from kmem.training.mqar.run import Trained
from kmem.training.mqar.sizing import config_of, farthest_reach, held_bytes, sizes_of, sure_reach
from kmem.training.variants import VARIANTS

BANKED = ("bmojo", "swa")
"""Variants that are asked with their pairs in a bank, too: one with a store and one that has never had any."""
PLACES = 4
BINS = 8
"""Ranges of distance."""


def measure_mqar(runs: Runs, config: MqarConfig, *, progress: Progress = silent) -> dict[str, Any]:
    """JSON object. A variant's accuracy is the mean of its seeds'.

    Outside = farther back than window and fading keys of any bounded variant reach, the same queries for all.
    """
    recipe = next(iter(runs.values())).recipe
    outside = 1 + max(farthest_reach(replace(recipe, variant=variant)) for variant in VARIANTS)
    if outside >= recipe.task.tokens:
        raise MeasurementError(f"The widest window sees all {recipe.task.tokens} tokens, so no pair is outside: give longer sequences.")
    recalls = {
        key: recall(run.model, recipe.task, config.sequences, seed=config.seed, name=f"{key[0]} {key[1]}", progress=progress)
        for key, run in runs.items()
    }
    reaches = {variant: sure_reach(replace(recipe, variant=variant)) for variant, _ in runs}
    inside = {key: found.accuracy(most=reaches[key[0]]) for key, found in recalls.items()}
    far = {key: found.accuracy(least=outside) for key, found in recalls.items()}
    any_recall = next(iter(recalls.values()))
    by_seed = {"accuracy": _by_seed(far), "in_window": _by_seed(inside)}
    return {
        "settings": {
            "task": recipe.to_dict()["task"],
            "model": recipe.to_dict()["model"],
            "training": recipe.to_dict()["training"],
            "sequences": config.sequences,
            "outside_from": outside,
            "window_of": reaches,
            "queries_outside": any_recall.count(least=outside),
            "chance": round(1 / (recipe.task.vocab_size - recipe.task.vocab_size // 2), PLACES),
        },
        **{name: {variant: _mean(list(seeds.values())) for variant, seeds in found.items()} for name, found in by_seed.items()},
        "by_seed": by_seed,
        "trained_enough": {variant: _enough(list(seeds.values())) for variant, seeds in by_seed["in_window"].items()},
        "everywhere": {variant: _mean(list(seeds.values())) for variant, seeds in _by_seed(_overall(recalls)).items()},
        "by_distance": _by_distance(recalls, recipe.task.tokens),
        "held_bytes": {variant: _held(replace(recipe, variant=variant)) for variant in reaches},
        "sizes": {variant: vars(sizes_of(replace(recipe, variant=variant))) for variant in reaches},
        "parameters": {variant: run.report["parameters"] for (variant, _), run in runs.items()},
        "train_seconds": _by_seed({key: run.report["seconds"] for key, run in runs.items()}),
        "store": _sweep(runs, config, outside, progress),
        "bank": _banked(runs, config, progress),
        "missing": [f"{variant}-{seed}" for variant in config.variants for seed in config.seeds if (variant, seed) not in runs],
    }


def with_store(run: Trained, eidetic: int) -> BMojoForCausalLM:
    """The same weights with a store of another size: no weight's shape depends on it."""
    model: BMojoForCausalLM = BMojoForCausalLM(config_of(_stored(run.recipe, eidetic))).eval()
    model.load_state_dict(run.model.state_dict())
    return model


def _stored(recipe: Recipe, eidetic: int) -> Recipe:
    return replace(recipe, model=replace(recipe.model, eidetic=eidetic))


def _sweep(runs: Runs, config: MqarConfig, outside: int, progress: Progress) -> dict[str, Any]:
    """By variant and size of the store: accuracy outside, mean of the seeds; and bytes of the store."""
    sequences = min(config.sequences, config.sweep_sequences)
    found: dict[str, Any] = {"accuracy": {}, "by_seed": {}, "bytes": {}}
    for key, run in runs.items():
        if key[0] not in EIDETIC:
            continue
        for size in config.sweep:
            name = f"{key[0]} {key[1]} M={size}"
            shown = recall(with_store(run, size), run.recipe.task, sequences, seed=config.seed, name=name, progress=progress)
            found["by_seed"].setdefault(key[0], {}).setdefault(str(size), {})[str(key[1])] = shown.accuracy(least=outside)
            found["bytes"][str(size)] = held_bytes(_stored(run.recipe, size))["eidetic"]
    for variant, sizes in found["by_seed"].items():
        found["accuracy"][variant] = {size: _mean(list(seeds.values())) for size, seeds in sizes.items()}
    return found


def _banked(runs: Runs, config: MqarConfig, progress: Progress) -> dict[str, Any]:
    """`attached` and `without` by variant, the mean of the seeds, and by seed: recall of pairs that are in a bank alone."""
    sequences = min(config.sequences, config.sweep_sequences)
    found = {
        key: banked_recall(run.model, run.recipe.task, sequences, seed=config.seed, name=f"{key[0]} {key[1]} bank", progress=progress)
        for key, run in runs.items()
        if key[0] in BANKED
    }
    by_seed = {
        "attached": _by_seed({key: share.attached for key, share in found.items()}),
        "without": _by_seed({key: share.without for key, share in found.items()}),
    }
    shares = {name: {variant: _mean(list(seeds.values())) for variant, seeds in shown.items()} for name, shown in by_seed.items()}
    return {"sequences": sequences, **shares, "by_seed": by_seed}


def _by_seed(figures: dict[tuple[str, int], float | None]) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {}
    for (variant, seed), figure in figures.items():
        found.setdefault(variant, {})[str(seed)] = figure if figure is None else round(figure, PLACES)
    return found


def _overall(recalls: dict[tuple[str, int], Recall]) -> dict[tuple[str, int], float | None]:
    return {key: found.accuracy() for key, found in recalls.items()}


def _by_distance(recalls: dict[tuple[str, int], Recall], tokens: int) -> dict[str, Any]:
    """Edges of the ranges, and by variant the mean accuracy in each."""
    edges = [tokens * number // BINS for number in range(BINS + 1)]
    found: dict[str, Any] = {"edges": edges}
    for variant in dict.fromkeys(variant for variant, _ in recalls):
        own = [recall for (name, _), recall in recalls.items() if name == variant]
        found[variant] = [_mean([one.accuracy(least=low, most=high - 1) for one in own]) for low, high in pairwise(edges)]
    return found


def _held(recipe: Recipe) -> dict[str, int]:
    held = held_bytes(recipe)
    return {**held, "total": sum(held.values())}


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one of them is."""
    known = [value for value in values if value is not None]
    return round(mean(known), PLACES) if known and len(known) == len(values) else None


def _enough(values: Sequence[float | None]) -> bool:
    return all(value is not None and value >= ENOUGH for value in values)
