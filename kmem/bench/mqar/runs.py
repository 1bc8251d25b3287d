"""The runs that are compared: those that are there, and those that `--full` makes."""

from collections.abc import Mapping
from dataclasses import replace

from kmem.bench.mqar.config import MADE, MqarConfig
from kmem.errors import ConfigError, SourceNotFoundError
from kmem.options import differing
from kmem.progress import Progress, silent
from kmem.training.mqar.recipe import Recipe
from kmem.training.mqar.run import Trained, load_trained, train
from kmem.training.variants import VARIANTS

Runs = Mapping[tuple[str, int], Trained]
"""By variant and seed."""


def make_missing(config: MqarConfig, recipe: Recipe, *, device: str = "cpu", progress: Progress = silent) -> int:
    """Train every run that is not in the folder, seed by seed; one that was stopped goes on. Returns how many were made.

    Raises ConfigError for a run in there that was made by another recipe.
    """
    config.folder.mkdir(parents=True, exist_ok=True)
    made = 0
    for seed in config.seeds:
        for variant in config.variants:
            file, wanted = config.file(variant, seed), replace(recipe, variant=variant, seed=seed)
            if not file.exists():
                train(wanted, file, device=device, progress=progress)
                made += 1
                continue
            changed = differing(load_trained(file).recipe.to_dict(), wanted.to_dict())
            if changed:
                raise ConfigError(f"{file} was made by another recipe: {'; '.join(changed)}; choose another --runs folder, or delete it.")
    return made


def load_runs(config: MqarConfig) -> Runs:
    """Those that are asked for and there. Raises SourceNotFoundError where there is none, ConfigError where they are not of one recipe."""
    wanted = [(variant, seed) for variant in config.variants for seed in config.seeds]
    found = {(variant, seed): load_trained(config.file(variant, seed)) for variant, seed in wanted if config.file(variant, seed).exists()}
    if not found:
        raise SourceNotFoundError(_none_found(config))
    (_, first), *others = found.items()
    for (variant, seed), run in others:
        changed = differing(first.recipe.to_dict(), replace(run.recipe, variant=first.recipe.variant, seed=first.recipe.seed).to_dict())
        if changed:
            raise ConfigError(f"{config.file(variant, seed)} is of another recipe than the rest: {'; '.join(changed)}; keep recipes apart.")
    return found


def _none_found(config: MqarConfig) -> str:
    """What is there instead, and the command that makes what is asked for."""
    if not config.folder.is_dir():
        return f"There is no folder {config.folder}: name one with finished runs, or train them there with --full."
    named = [
        *(f"--variant {name}" for name in config.variants if config.variants != VARIANTS),
        f"--seeds {','.join(map(str, config.seeds))}",
    ]
    command = f"kmem bench mqar --full {' '.join(named)} --runs {config.runs or MADE}"
    there = sorted(file.stem for file in config.folder.glob("*-*.safetensors"))
    if not there:
        return f"{config.folder} holds no finished run; {command} trains them."
    place = config.runs or "What is shipped"
    return f"{place} holds no run of these variants and seeds, but {', '.join(there)}: ask for some of those, or train with {command}."
