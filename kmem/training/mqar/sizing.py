"""Equal memory: each variant is given what costs as many bytes as `bmojo`, or the least beyond.

Bytes are those of the cache after reading a sequence of zeros, priorities and convolutions counted in. A control never has fewer, but for
`random_m` and `oldest_m`, which have the same store and lack only the tokens that a prediction is made of, and `swa_wide`, which sees as
many keys as `bmojo` has in window and store together. `transformer` keeps everything.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from kmem.models.bmojo import BMojoConfig, BMojoForCausalLM
from kmem.training.mqar.recipe import ModelConfig, Recipe
from kmem.training.mqar.task import TaskConfig

PARTS = ("window", "fading", "eidetic")
"""What else a cache holds is the state."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What differs between variants: keys of window and fading memory, and the width of the state."""

    window: int
    fading: int
    state_size: int


def config_of(recipe: Recipe) -> BMojoConfig:
    """The model of a recipe."""
    return _config(recipe.variant, recipe.model, recipe.task, sizes_of(recipe))


def sizes_of(recipe: Recipe) -> Sizes:
    """Those of its variant."""
    return _sizes(recipe.variant, recipe.model, recipe.task)


def held_bytes(recipe: Recipe) -> dict[str, int]:
    """Bytes that the model holds after a sequence, all layers together: `state`, `window`, `fading`, `eidetic`."""
    return _held(recipe.variant, recipe.model, recipe.task, sizes_of(recipe))


def sure_reach(recipe: Recipe) -> int:
    """Tokens back that are in every query's window; of `ssm` and `transformer`, which have none, in that of `bmojo`."""
    if recipe.variant == "bmojo_f":
        return sizes_of(recipe).window - 1
    wide = recipe.model.eidetic if recipe.variant == "swa_wide" else 0
    return sizes_of(recipe).window + wide - recipe.model.chunk


def farthest_reach(recipe: Recipe) -> int:
    """Tokens back that some query sees in window or fading keys."""
    if recipe.variant in ("ssm", "transformer"):
        return 0
    sizes = sizes_of(recipe)
    wide = recipe.model.eidetic if recipe.variant == "swa_wide" else 0
    return sizes.window + sizes.fading + wide


@lru_cache
def _sizes(variant: str, model: ModelConfig, task: TaskConfig) -> Sizes:
    given = Sizes(window=model.window, fading=model.fading, state_size=model.state_size)
    budget = sum(_held("bmojo", model, task, given).values())

    def least(variant: str, budget: int, grown: Callable[[int], Sizes]) -> Sizes:
        """Of so many units that hold `budget` bytes: each unit costs the same."""
        one, two = (sum(_held(variant, model, task, grown(units)).values()) for units in (1, 2))
        return grown(max(1, 1 - (one - budget) // (two - one)))

    def window(units: int) -> Sizes:
        return replace(given, window=units * model.chunk, fading=0)

    match variant:
        case "ssm":
            return least(variant, budget, lambda units: replace(given, fading=0, state_size=units))
        case "swa":
            return least(variant, budget, window)
        case "hybrid":
            half = least("swa", budget // 2, window)
            return least(variant, budget, lambda units: replace(half, state_size=units))
        case "bmojo_f":
            return least(variant, budget, lambda units: replace(given, window=units * model.chunk, fading=units * model.chunk))
        case "swa_wide":
            return replace(given, fading=0)
    return given


def _config(variant: str, model: ModelConfig, task: TaskConfig, sizes: Sizes) -> BMojoConfig:
    mixers = ["conv", *(("ssm", "swa") if variant == "hybrid" else (variant,))]
    return BMojoConfig(
        vocab_size=task.vocab_size,
        hidden_size=model.hidden_size,
        num_hidden_layers=len(mixers),
        mixers=mixers,
        num_attention_heads=model.query_heads,
        num_key_value_heads=model.key_value_heads,
        head_dim=model.head_dim,
        intermediate_size=0,
        window=sizes.window,
        chunk=model.chunk,
        fading=sizes.fading,
        eidetic=model.eidetic,
        innovation=model.innovation,
        average_tokens=model.average_tokens,
        rope_base=None,
        state_size=sizes.state_size,
        state_heads=model.state_heads,
        initializer_range=model.initializer_range,
    )


@torch.no_grad()
def _held(variant: str, model: ModelConfig, task: TaskConfig, sizes: Sizes) -> dict[str, int]:
    built = BMojoForCausalLM(_config(variant, model, task, sizes)).eval()
    cache = built(torch.zeros(1, task.tokens, dtype=torch.int64), use_cache=True).past_key_values
    found = dict.fromkeys(("state", *PARTS), 0)
    for layer in cache.bytes_per_layer():
        for name, size in layer.items():
            kind = name.partition("_")[0]
            found["window" if name in ("key", "value") else kind if kind in PARTS else "state"] += size
    return found
