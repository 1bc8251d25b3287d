"""What is measured: a text read, at once or in pieces, and a training step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.bench.bmojo.config import BMOJO, EQUAL_LAYERS, EQUAL_MEMORY, EQUAL_MLP, HYBRID, TRANSFORMER, BMojoBenchConfig
from kmem.bench.encode.work import wait
from kmem.models.bmojo import BMojoCache, BMojoConfig, BMojoForCausalLM
from kmem.models.bmojo.equal import equal_to, parameters


def configs(config: BMojoBenchConfig) -> dict[str, BMojoConfig]:
    """Models of equal parameters.

    `hybrid` is made of the same parts as `bmojo`: two layers for each of its layers, a state space and a window, with thinner MLPs.
    EQUAL_MEMORY: the same with as many keys in its window as `bmojo` has in window, store and fading memory. EQUAL_MLP: with as many layers
    as leave MLPs about as wide as those of `bmojo`, as `transformer` is made. EQUAL_LAYERS: a transformer of as many layers, MLPs wider.
    """
    shape = {**config.shape, "variant": BMOJO}
    bmojo = BMojoConfig(**shape)
    numbers, layers = parameters(bmojo), bmojo.num_hidden_layers
    keys = bmojo.window + (bmojo.fading or 0) + (bmojo.eidetic or 0)
    return {
        BMOJO: bmojo,
        HYBRID: equal_to(shape, HYBRID, numbers, layers=2 * layers),
        EQUAL_MEMORY: equal_to({**shape, "window": keys}, HYBRID, numbers, layers=2 * layers),
        EQUAL_MLP: equal_to(shape, HYBRID, numbers),
        TRANSFORMER: equal_to(shape, TRANSFORMER, numbers),
        EQUAL_LAYERS: equal_to(shape, TRANSFORMER, numbers, layers=layers),
    }


def built(config: BMojoConfig, seed: int, device: torch.device) -> BMojoForCausalLM:
    """A model of random weights."""
    torch.manual_seed(seed)
    model: BMojoForCausalLM = BMojoForCausalLM(config).to(device)
    return model


@dataclass(frozen=True, kw_only=True, eq=False)
class Reader:
    """Reads `texts` texts of tokens `ids` [1, T], each from an empty state, `piece` tokens a call."""

    model: BMojoForCausalLM
    ids: Tensor
    piece: int
    texts: int = 1

    def __call__(self) -> BMojoCache:
        """The state after the last text."""
        self.model.eval()
        with torch.inference_mode():
            for _ in range(self.texts):
                cache = BMojoCache(len(self.model.model.layers))
                for part in torch.split(self.ids, self.piece, dim=1):
                    self.model(part, past_key_values=cache, use_cache=True, logits_to_keep=1)
        wait(self.ids.device)
        return cache


@dataclass(frozen=True, kw_only=True, eq=False)
class Learner:
    """One training step on a batch `ids` [B, T]: forward, backward, and AdamW's update."""

    model: BMojoForCausalLM
    ids: Tensor
    optimizer: torch.optim.Optimizer

    @classmethod
    def of(cls, model: BMojoForCausalLM, ids: Tensor) -> "Learner":
        return cls(model=model, ids=ids, optimizer=torch.optim.AdamW(model.parameters(), lr=1e-4))

    def __call__(self) -> None:
        self.model.train()
        self.model(self.ids, labels=self.ids).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        wait(self.ids.device)
