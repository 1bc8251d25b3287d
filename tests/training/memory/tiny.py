"""Runs of milliseconds: the tiny Llama, forty documents, memories of a few tokens."""

import json
from pathlib import Path

from kmem.encoder.encode import Encoder
from kmem.profile import Profile
from kmem.training.memory.recipe import AdapterConfig, AskedConfig, DataConfig, Recipe, TextConfig, TrainingConfig
from tests.tiny import byte_tokenizer, save_tiny_model, tiny_model

BUDGET = ((0, 5), (4, 0), (40, 8), (0, 0))
PROFILE = Profile(name="tiny", budget=BUDGET, suffix="\n", align="start")
TRAINING = TrainingConfig(steps=6, warmup_steps=1, checkpoint_steps=2, judge_steps=3, learning_rate=0.01)
REFERENCES = tuple(tuple(text.encode()) for text in ("A lake in the north.", "Iron rusts in wet air.", "Chess", "Foxes jump."))


def tiny_encoder(profile: Profile = PROFILE, *, architecture: str = "llama") -> Encoder:
    """Its weights have no gradient yet."""
    model = tiny_model(architecture)
    model.requires_grad_(False)
    return Encoder(model, byte_tokenizer(), profile)


def recipe(folder: Path, *, training: TrainingConfig = TRAINING, **options: object) -> Recipe:
    """With the model, the profile and forty documents that are written into the folder."""
    lines = [
        json.dumps({"title": f"Lake {n}", "text": f"Lake {n} lies north of hill {n * 7}, and is {n} miles long. " * 4}) for n in range(40)
    ]
    (folder / "lakes.jsonl").write_text("\n".join(lines))
    (folder / "tiny.json").write_text(json.dumps(PROFILE.to_dict()))
    if not (folder / "model").exists():
        save_tiny_model(folder / "model")
    given = {
        "data": DataConfig(corpora=(str(folder / "lakes.jsonl"),), reserved=2, judged=4),
        "asked": AskedConfig(batch_size=2, among=3, among_every=2),
        "text": TextConfig(tokens=96, chunk=32),
        "model": str(folder / "model"),
        "adapter": AdapterConfig(rank=2, alpha=4.0),
        **options,
    }
    return Recipe(profile=str(folder / "tiny.json"), training=training, **given)  # type: ignore[arg-type]
