"""Shapes of models that nobody can download, to be filled with random weights: pure data, importable without torch."""

from dataclasses import dataclass
from typing import Any

from kmem.encoder.defaults import AUTO
from kmem.errors import UnknownNameError

PREFIX = "preset:"
"""`--model preset:memory3-2b` is the shape of that name with random weights."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A Llama without biases, whose output embedding is not its input embedding. Read by Memory³'s profile: 8 tokens, first half."""

    layers: int
    query_heads: int
    heads: int
    head_dim: int
    mlp_width: int
    vocabulary: int

    @property
    def width(self) -> int:
        """d, numbers of a hidden state."""
        return self.query_heads * self.head_dim

    @property
    def block_parameters(self) -> int:
        """All blocks and the last norm: 2d² + 2·d·D·H + 3dW a block (Memory³ App. A), and its two norms."""
        block = 2 * self.width**2 + 2 * self.width * self.head_dim * self.heads + 3 * self.width * self.mlp_width + 2 * self.width
        return self.layers * block + self.width

    @property
    def parameters(self) -> int:
        """With both embeddings."""
        return self.block_parameters + 2 * self.vocabulary * self.width

    def config(self) -> dict[str, Any]:
        """Fields of a LlamaConfig."""
        return {
            "hidden_size": self.width,
            "intermediate_size": self.mlp_width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.query_heads,
            "num_key_value_heads": self.heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": False,
        }


MEMORY3_2B = Preset(layers=44, query_heads=40, heads=8, head_dim=80, mlp_width=3200, vocabulary=60_416)
"""Memory³ §3.4: 2.4 billion parameters without embeddings."""
MEMORY3_REFERENCES = 112_000_000
"""References of its bank: what the paper's three sizes of it imply; its text says 1.1e8."""
PRESETS = {
    "memory3-2b": MEMORY3_2B,
    "memory3-small": Preset(layers=22, query_heads=20, heads=4, head_dim=40, mlp_width=800, vocabulary=15_104),
    "memory3-tiny": Preset(layers=11, query_heads=10, heads=2, head_dim=20, mlp_width=200, vocabulary=3_776),
}
"""The scaled-down ones, for processors, have a half and a quarter of all, so the same ratios; a quarter and a sixteenth of the words."""


def preset(name: str) -> Preset:
    """The preset of that name; raises UnknownNameError listing the others."""
    if name not in PRESETS:
        raise UnknownNameError("preset", name, list(PRESETS))
    return PRESETS[name]


def usual_profile(model: str, profile: str) -> str:
    """`profile`, but for a preset `memory3` in place of `auto`: by layers and heads alone, a preset can't be told from a real model."""
    return "memory3" if model.startswith(PREFIX) and profile == AUTO else profile
