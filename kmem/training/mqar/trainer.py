"""Training on examples without end."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from kmem.models.bmojo import BMojoForCausalLM
from kmem.training import trainer
from kmem.training.mqar.generate import IGNORED, TRAINING, Examples, examples
from kmem.training.mqar.recipe import Recipe
from kmem.training.mqar.sizing import config_of
from kmem.training.mqar.stages import stage


class Trainer(trainer.Trainer):
    """One run of a recipe."""

    def __init__(self, recipe: Recipe, *, device: str = "cpu") -> None:
        name = f"{recipe.variant} {recipe.seed}"
        super().__init__(config_of(recipe), recipe.schedule, recipe.to_dict(), seed=recipe.seed, name=name, device=device)
        self.recipe = recipe

    def loss(self) -> Tensor:
        return query_loss(self.model, self.batch())

    def batch(self) -> Examples:
        """The examples of the next step."""
        now = stage(self.recipe, self.step)
        made = examples(now.task, now.batch_size, seed=self.recipe.seed, stream=TRAINING, index=self.step)
        return Examples(*(part.to(self.device) for part in made))


def query_loss(model: BMojoForCausalLM, batch: Examples) -> Tensor:
    """Mean cross-entropy at the queries, in nats."""
    asked = batch.labels != IGNORED
    return F.cross_entropy(answers(model, batch), batch.labels[asked])


def answers(model: BMojoForCausalLM, batch: Examples) -> Tensor:
    """Logits [n, V] at the queries, row by row."""
    read: Any = model.model(batch.inputs, use_cache=False)
    logits: Tensor = model.lm_head(read.last_hidden_state[batch.labels != IGNORED])
    return logits
