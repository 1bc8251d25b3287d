"""A whole run: from a recipe, or where it stopped, to a folder with what was trained, what it belongs to, and its curve."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem import __version__
from kmem.encoder.adapter import ABOUT, PROFILE
from kmem.encoder.anatomy import examine
from kmem.encoder.encode import Encoder
from kmem.encoder.fingerprint import adapter_of
from kmem.encoder.load import load_model
from kmem.encoder.profiles import load_profile
from kmem.errors import ConfigError, CorruptBankError
from kmem.identity import content_id
from kmem.kstore.index.retriever import Retriever
from kmem.kstore.index.retrievers import retriever
from kmem.progress import Progress, silent
from kmem.training.memory.curve import PICTURE, draw_curve, write_curve
from kmem.training.memory.judge import Judge
from kmem.training.memory.lessons import Corpus, Lessons, read_corpora, sequences_of
from kmem.training.memory.recipe import Recipe
from kmem.training.memory.retrieval import Found, find
from kmem.training.memory.trained import trained
from kmem.training.memory.trainer import Trainer
from kmem.training.probes import reference_ids
from kmem.training.stored import read, write
from kmem.written import whole_text

CHECKPOINT, RETRIEVED = ".training", ".retrieved.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What a run is made of; the trainer has not made a step."""

    trainer: Trainer
    lessons: Lessons
    leaks: int


def prepare(
    recipe: Recipe, folder: Path | None, *, device: str = "cpu", embedder: Retriever | None = None, progress: Progress = silent
) -> Setting:
    """Load the model, read the corpora, and find what running text reads, or take what was found before for the same in `folder`.

    Raises what each of them raises, ConfigError for a retriever without vectors and for a model that has an adapter.
    """
    progress("load", 0, 0)
    model, tokenizer = load_model(recipe.model, device=device)
    if adapter_of(model):
        raise ConfigError(f"{recipe.model!r} has an adapter already, and adapters are not put on one another: name the model alone.")
    anatomy = examine(model)
    encoder = Encoder(model, tokenizer, load_profile(recipe.profile, layers=anatomy.layers, heads=anatomy.heads))
    progress("load", 1, 1)
    corpus = read_corpora(recipe.data)
    found = Found(reads=(), leaks=0)
    if recipe.text.batch_size:
        found = _retrieved(recipe, corpus, model, tokenizer, folder, embedder, progress)
    lessons = Lessons(recipe, corpus.learnt, tokenizer, found.reads)
    trainer = Trainer(recipe, encoder, trained(model, recipe.adapter, seed=recipe.seed), lessons, Judge(corpus.judged, tokenizer))
    return Setting(trainer=trainer, lessons=lessons, leaks=found.leaks)


def train(
    recipe: Recipe, folder: Path, *, device: str = "cpu", embedder: Retriever | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Train into the folder, made when absent, from the checkpoint in it where there is one. Returns the report, as `kmem.json` has it.

    Raises what `prepare` and Trainer.restore do.
    """
    setting = prepare(recipe, folder, device=device, embedder=embedder, progress=progress)
    trainer, checkpoint = setting.trainer, folder / CHECKPOINT
    base = trainer.encoder.spec.identity  # of the model before training
    folder.mkdir(exist_ok=True)
    if checkpoint.exists():
        trainer.restore(read(checkpoint))

    def save(trainer: Trainer) -> None:
        stored = trainer.state()
        write(checkpoint, stored.tensors, stored.header)
        write_curve(trainer.curve, folder)

    trainer.run(save, progress=progress)
    report = report_of(setting)
    trainer.trained.save(folder)
    if recipe.adapter.kind == "full":
        trainer.encoder.tokenizer.save_pretrained(folder)
    about = {
        "kmem": __version__,
        "kind": recipe.adapter.kind,
        "base": {name: getattr(base, name) for name in ("model", "architecture", "weights", "tokenizer")},
        "recipe": recipe.to_dict(),
        "report": report,
    }
    with whole_text(folder / PROFILE) as file:
        json.dump(trainer.encoder.profile.to_dict(), file)
    with whole_text(folder / ABOUT) as file:
        json.dump(about, file, indent=2)
    write_curve(trainer.curve, folder)
    draw_curve(trainer.curve, folder / PICTURE)
    for name in (CHECKPOINT, RETRIEVED):
        (folder / name).unlink(missing_ok=True)
    return report


def report_of(setting: Setting) -> dict[str, Any]:
    """What is worth keeping of a run."""
    trainer = setting.trainer
    looks = [line["judged"] for line in trainer.curve if "judged" in line]
    return {
        "held_out": {"before": looks[0], "after": looks[-1]},
        "learnt_from": len(setting.lessons.references),
        "trained_parameters": sum(parameter.numel() for parameter in trainer.trained.parameters.values()),
        "steps": trainer.step,
        "passed_over": trainer.skipped,
        "rolled_back": trainer.rolled_back,
        "leaks": setting.leaks,
        "seconds": round(trainer.seconds, 1),
    }


def _retrieved(
    recipe: Recipe,
    corpus: Corpus,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path | None,
    embedder: Retriever | None,
    progress: Progress,
) -> Found:
    """Kept in the folder, so that a run that goes on reads the same."""
    references = [reference_ids(tokenizer, passage) for passage in corpus.learnt]
    sequences = sequences_of(corpus.learnt, tokenizer, recipe.text.tokens)
    key = {"text": recipe.to_dict()["text"], "passages": f"{content_id(*(passage.id for passage in corpus.learnt)):016x}"}
    kept = None if folder is None else folder / RETRIEVED
    if kept is not None and kept.exists():
        try:
            data = json.loads(kept.read_text())
            if data["of"] == key:
                return Found(reads=tuple(tuple(map(tuple, chunks)) for chunks in data["reads"]), leaks=int(data["leaks"]))
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptBankError(f"{kept} is damaged ({error}); delete it, and it is made again.") from error
    made = embedder or retriever(recipe.text.embedder)
    if not made.identity().get("dim", 0):
        raise ConfigError(f"text.embedder {recipe.text.embedder!r} has no vectors; name one that has, as minilm.")
    found = find(sequences, references, tokenizer, made, recipe.text, progress=progress)
    if kept is not None:
        kept.parent.mkdir(exist_ok=True)
        with whole_text(kept) as file:
            json.dump({"of": key, "reads": found.reads, "leaks": found.leaks}, file)
    return found
