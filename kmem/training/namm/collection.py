"""The recordings of a run: documents → prompts → files, each written once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.errors import UnknownNameError
from kmem.models.namm.scorer import Namm
from kmem.progress import Progress, silent
from kmem.training.namm.recipe import Recipe, TasksConfig
from kmem.training.namm.record import record
from kmem.training.namm.recording import load_recording
from kmem.training.namm.tasks import LONG, TASKS, Example, examples
from kmem.training.passages import Passage, passages


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Files of recordings by task: those that members are evaluated on, and the judges'."""

    learnt: dict[str, list[Path]]
    judges: dict[str, list[Path]]

    @property
    def all_learnt(self) -> list[Path]:
        return [path for paths in self.learnt.values() for path in paths]


def prompts(tokenizer: PreTrainedTokenizerBase, config: TasksConfig, count: int, *, held_out: bool, seed: int) -> dict[str, list[Example]]:
    """`count` prompts of each task; those of held-out documents share none with the others.

    Raises UnknownNameError for a task that there is not, and what reading the corpora raises.
    """
    require_tasks(config.names)
    found = {}
    read: dict[tuple[str, ...], list[Passage]] = {}
    for name in config.names:
        corpora = config.long_corpora if name in LONG else config.corpora
        if corpora not in read:
            read[corpora] = [passage for corpus in corpora for passage in passages(corpus, held_out=held_out)]
        found[name] = examples(tokenizer, name, read[corpora], count, tokens=config.tokens, seed=seed)
    return found


def require_tasks(names: Sequence[str]) -> None:
    """Raise UnknownNameError for a task that there is not."""
    for name in names:
        if name not in TASKS:
            raise UnknownNameError("task", name, list(TASKS))


def collect(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, folder: Path, *, progress: Progress = silent
) -> Collection:
    """Record what is not in the folder yet."""
    config, namm = recipe.tasks, Namm(recipe.namm)
    each = config.prompts + config.judges
    made = prompts(tokenizer, config, each, held_out=False, seed=recipe.seed)
    folder.mkdir(exist_ok=True)
    done, total = 0, each * len(made)
    progress("record", done, total)
    paths: dict[str, list[Path]] = {}
    for name, found in made.items():
        paths[name] = [folder / f"{name}-{index:04d}.safetensors" for index in range(each)]
        for path, example in zip(paths[name], found, strict=True):
            if not path.exists():
                record(model, example, namm).save(path)
            done += 1
            progress("record", done, total)
    return Collection(
        learnt={name: own[: config.prompts] for name, own in paths.items()},
        judges={name: own[config.prompts :] for name, own in paths.items()},
    )


def statistics(namm: Namm, files: Sequence[Path]) -> Namm:
    """The same NAMM, with mean and variance of the spectra of these recordings, as they are with everything kept."""
    for path in files:
        for firing in load_recording(path).firings:
            namm.collect(firing.statistics, torch.ones(firing.later.shape, dtype=torch.bool))
    return namm
