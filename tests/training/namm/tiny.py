"""A model, texts and a recipe of milliseconds."""

import json
from functools import cache
from pathlib import Path

from transformers import PreTrainedModel

from kmem.models.namm.config import NammConfig
from kmem.training.namm.recipe import DistillationConfig, EvolutionConfig, Recipe, RegressionConfig, SizeConfig, TasksConfig
from kmem.training.passages import Passage
from tests.tiny import tiny_model

NAMM = NammConfig(n_fft=4, hop=2, recency=2, hidden=4, delay=32, protect=2)
WORDS = ("the", "of", "stone", "river", "under", "seven", "green", "a", "king", "bright", "who", "market", "early", "letters", "and")


def passage(index: int, sentences: int = 4) -> Passage:
    """Words in an order that its number makes."""
    said = []
    for sentence in range(sentences):
        words = [WORDS[(index * 7 + sentence * 5 + place * (index % 5 + 1)) % len(WORDS)] for place in range(10)]
        said.append(" ".join(words).capitalize() + ".")
    return Passage(f"Name{index}", " ".join(said))


PASSAGES = [passage(index) for index in range(40)]
LONG = [passage(index, sentences=40) for index in range(100, 112)]


@cache
def model() -> PreTrainedModel:
    return tiny_model()


def write_corpora(folder: Path) -> TasksConfig:
    """Two files of documents, and tasks over them."""
    names = {}
    for name, found in (("short", PASSAGES), ("long", LONG)):
        names[name] = folder / f"{name}.jsonl"
        lines = [json.dumps({"id": one.title, "title": one.title, "text": one.body}) for one in found]
        names[name].write_text("\n".join(lines) + "\n")
    return TasksConfig(
        names=("recall", "article"),
        corpora=(str(names["short"]),),
        long_corpora=(str(names["long"]),),
        tokens=(420, 300),
        prompts=2,
        judges=1,
    )


def recipe(model_folder: Path, tasks: TasksConfig, *, seed: int = 0) -> Recipe:
    return Recipe(
        model=str(model_folder),
        seed=seed,
        namm=NammConfig(n_fft=4, hop=2, recency=2, hidden=4, delay=128, protect=2, layers=4, heads=2),
        tasks=tasks,
        size=SizeConfig(share=0.5),
        regression=RegressionConfig(steps=4, batch_size=2),
        distillation=DistillationConfig(steps=3),
        evolution=EvolutionConfig(generations=2, population=4, prompts=1, judged=2, sigma=0.1),
    )
