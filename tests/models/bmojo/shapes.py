"""Small models whose numbers are large enough that a wrong key shows."""

from typing import Any

import torch

from kmem.models.bmojo import BMojoConfig, BMojoForCausalLM
from kmem.models.bmojo.attention import BMojoAttention
from kmem.models.bmojo.rope import RotaryEmbedding, Rotation

SHAPE: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "window": 12,
    "chunk": 8,
    "eidetic": 5,
    "state_size": 8,
    "state_heads": 4,
    "state_groups": 2,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "pad_token_id": 48,
    "eos_token_id": 49,
}

STORES: dict[str, dict[str, Any]] = {
    "top M": {},
    "by read-out": {"innovation": "state"},
    "threshold, bounded": {"threshold": 1.8},
    "threshold, growing": {"threshold": 1.8, "eidetic": None},
    "everything": {"eidetic": None},
    "retrieved from growing": {"eidetic": None, "retrieve_above": 16, "retrieve": 16},
    "retrieved from bounded": {"eidetic": 33, "retrieve_above": 10, "retrieve": 16},
    "within reach": {"reach": 6},
    "growing, within reach": {"eidetic": None, "reach": 0},
    "retrieved within reach": {"eidetic": 33, "retrieve_above": 10, "retrieve": 16, "reach": 6},
    "no fading": {"fading": 0},
    "own projections, no positions": {"tie_fading": False, "rope_base": None},
    "chunk of one": {"chunk": 1},
    "after a convolution": {"mixers": ("conv", "bmojo")},
    "no MLP": {"intermediate_size": 0},
}
"""What `bmojo` can be."""


def config(**changes: Any) -> BMojoConfig:
    return BMojoConfig(**{**SHAPE, **changes})


def model(*, dtype: torch.dtype = torch.float64, **changes: Any) -> BMojoForCausalLM:
    torch.manual_seed(0)
    built: BMojoForCausalLM = BMojoForCausalLM(config(**changes)).to(dtype).eval()
    return built


def rotation(mixer: BMojoAttention, hidden: torch.Tensor) -> Rotation:
    """Of the first tokens."""
    rotary = RotaryEmbedding(mixer.config.head_dim, mixer.config.rope_base)
    places: Rotation = rotary(hidden, torch.arange(hidden.shape[1])[None])
    return places


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 48, (rows, length), generator=torch.Generator().manual_seed(seed))
