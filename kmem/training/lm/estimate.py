"""What a comparison would take, from one step of each model; no corpus is read, since which tokens are learnt changes no time."""

import time
from typing import Any

import torch

from kmem.training.lm.recipe import Recipe
from kmem.training.lm.texts import Texts
from kmem.training.lm.trainer import Trainer


def estimate(recipe: Recipe, *, device: str = "cpu") -> dict[str, Any]:
    """Makes two steps of each model on random tokens and times the second: `models`, each with `parameters`, `layers`, `mlp`, `step_s` and
    `all_s`, seconds of a step and of all; `all_s` of all models. Judging comes on top.
    """
    random = torch.Generator().manual_seed(recipe.seed)
    stream = torch.randint(0, recipe.data.vocab_size, (recipe.training.batch_size * recipe.training.tokens,), generator=random)
    texts = Texts(learnt=stream, judged=stream[:0], bytes_per_token=1.0)
    models = {}
    for variant in recipe.variants:
        trainer = Trainer(recipe, variant, texts, device=device)
        trainer.advance()
        began = time.perf_counter()
        trainer.advance()
        step_s = time.perf_counter() - began
        models[variant] = {
            "parameters": sum(parameter.numel() for parameter in trainer.parameters.values()),
            "layers": trainer.model.config.num_hidden_layers,
            "mlp": trainer.model.config.intermediate_size,
            "step_s": step_s,
            "all_s": step_s * recipe.training.steps,
        }
    return {"models": models, "all_s": sum(model["all_s"] for model in models.values())}
