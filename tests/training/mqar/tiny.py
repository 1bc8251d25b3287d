"""A run of milliseconds."""

from kmem.training.mqar.recipe import ModelConfig, Recipe, TrainingConfig
from kmem.training.mqar.task import TaskConfig

TASK = TaskConfig(vocab_size=16, tokens=64, pairs=4)
MODEL = ModelConfig(hidden_size=16, query_heads=2, head_dim=8, window=4, chunk=2, fading=4, eidetic=12, state_size=2, average_tokens=4)
TRAINING = TrainingConfig(steps=6, batch_size=2, warmup_steps=2, curriculum=(2,), curriculum_steps=3, checkpoint_steps=2, slow=())


def recipe(variant: str = "bmojo", *, seed: int = 0, training: TrainingConfig = TRAINING) -> Recipe:
    return Recipe(variant=variant, seed=seed, task=TASK, model=MODEL, training=training)
