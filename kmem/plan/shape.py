"""What the cost model needs to know of a model: the letters of Memory³'s App. A."""

from dataclasses import dataclass, fields

from kmem.arguments import require_count
from kmem.encoder.presets import preset
from kmem.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A decoder whose blocks are an attention and a gated MLP of three matrices, without biases.

    layers: L. width: d, numbers of a hidden state (in the paper Q·D; models may have another). query_heads, heads, head_dim: Q, H and D
    as in the shape alphabet. mlp_width: W. vocabulary: rows of the output embedding.
    Raises ConfigError for a count under 1, query heads that key-value heads don't divide, and an odd head_dim, which RoPE can't turn.
    """

    layers: int
    width: int
    query_heads: int
    heads: int
    head_dim: int
    mlp_width: int
    vocabulary: int

    def __post_init__(self) -> None:
        for entry in fields(self):
            require_count(getattr(self, entry.name), entry.name)
        if self.query_heads % self.heads:
            raise ConfigError(f"{self.query_heads} query heads can't share {self.heads} key-value heads evenly; change one of them.")
        if self.head_dim % 2:
            raise ConfigError(f"head_dim must be even, not {self.head_dim}: RoPE turns numbers in pairs.")

    @property
    def attention_width(self) -> int:
        """Q·D, numbers of all query heads."""
        return self.query_heads * self.head_dim

    @property
    def group(self) -> int:
        """Q/H, query heads that read one key-value head."""
        return self.query_heads // self.heads

    @property
    def attention_weights(self) -> int:
        """Weights of a block's attention: W_Q and W_O, then W_K and W_V. App. A: 2d² + 2d·D·H."""
        return 2 * self.width * self.attention_width + 2 * self.width * self.head_dim * self.heads

    @property
    def mlp_weights(self) -> int:
        """Weights of a block's MLP. App. A: 3dW."""
        return 3 * self.width * self.mlp_width


def preset_shape(name: str) -> Shape:
    """The shape of a preset (`memory3-2b`, Memory³ §3.4). Raises UnknownNameError listing the others."""
    found = preset(name)
    return Shape(
        layers=found.layers,
        width=found.width,
        query_heads=found.query_heads,
        heads=found.heads,
        head_dim=found.head_dim,
        mlp_width=found.mlp_width,
        vocabulary=found.vocabulary,
    )
