"""Training one variant of a recipe on its texts."""

from dataclasses import asdict
from typing import Any

from torch import Tensor

from kmem.models.bmojo import BMojoConfig
from kmem.models.bmojo.equal import equal_to, parameters
from kmem.training import trainer
from kmem.training.lm.recipe import BASE, Recipe
from kmem.training.lm.texts import Texts


class Trainer(trainer.Trainer):
    """One run of a recipe."""

    def __init__(self, recipe: Recipe, variant: str, texts: Texts, *, device: str = "cpu") -> None:
        settings = {**recipe.to_dict(), "variants": [variant]}
        super().__init__(config_of(recipe, variant), recipe.training, settings, seed=recipe.seed, name=variant, device=device)
        self.recipe, self.texts = recipe, texts

    def loss(self) -> Tensor:
        training = self.recipe.training
        ids = self.texts.batch(training.batch_size, training.tokens, seed=self.recipe.seed, step=self.step).to(self.device)
        loss: Tensor = self.model(ids, labels=ids, use_cache=False).loss
        return loss


def config_of(recipe: Recipe, variant: str) -> BMojoConfig:
    """BASE as the recipe has it, or the variant with as many parameters.

    Stored keys are read within the length trained on less a chunk: never farther from a query than training has shown; there it changes
    nothing.
    `hybrid` has two layers for each of BASE, a state space and a window; others have as many as leave MLPs about as wide.
    """
    reach = max(0, recipe.training.tokens - recipe.model.chunk)
    shape: dict[str, Any] = {**asdict(recipe.model), "vocab_size": recipe.data.vocab_size, "reach": reach, "variant": BASE}
    base = BMojoConfig(**shape)
    if variant == BASE:
        return base
    layers = 2 * base.num_hidden_layers if variant == "hybrid" else None
    return equal_to(shape, variant, parameters(base), layers=layers)
