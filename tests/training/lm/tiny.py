"""A comparison of milliseconds, on texts of its own."""

import json
from pathlib import Path

from kmem.training.lm.recipe import DataConfig, ModelConfig, Recipe, TrainingConfig
from tests.tiny import save_tiny_model

MODEL = ModelConfig(
    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=40, window=8, chunk=4, fading=4, eidetic=4, state_size=4,
)  # fmt: skip
TRAINING = TrainingConfig(steps=4, batch_size=2, tokens=16, warmup_steps=1, checkpoint_steps=2)


def data(folder: Path) -> DataConfig:
    """Forty documents, and the byte tokenizer."""
    lines = (
        json.dumps({"title": f"Lake {n}", "text": f"Lake {n} lies north of hill {n * 7} and is {n} miles long. " * 4}) for n in range(40)
    )
    (folder / "lakes.jsonl").write_text("\n".join(lines))
    save_tiny_model(folder / "bytes")
    return DataConfig(corpora=(str(folder / "lakes.jsonl"),), tokenizer=str(folder / "bytes"), vocab_size=257, judged_tokens=256)


def recipe(folder: Path, *variants: str, training: TrainingConfig = TRAINING) -> Recipe:
    return Recipe(variants=variants or ("bmojo",), data=data(folder), model=MODEL, training=training)
