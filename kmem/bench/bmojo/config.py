"""Every option of the benchmark of B'MOJO, with its one default; importable without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from kmem.arguments import require_count
from kmem.errors import ConfigError

BMOJO, TRANSFORMER, HYBRID = "bmojo", "transformer", "hybrid"
EQUAL_MEMORY, EQUAL_MLP, EQUAL_LAYERS = "hybrid_equal_memory", "hybrid_equal_mlp", "transformer_equal_layers"
"""What is compared; see `sides.configs`."""

SHAPE: Mapping[str, Any] = MappingProxyType(
    {
        "vocab_size": 4096,
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "intermediate_size": 344,
        "window": 128,
        "chunk": 64,
        "fading": 64,
        "eidetic": 64,
        "reach": 448,
        "state_size": 64,
        "state_expand": 1,
    }
)
"""Arguments of BMojoConfig, those of the language models that `kmem train lm` makes: small enough to be trained on a CPU. reach: as there,
the tokens of a training row less a chunk.
"""


@dataclass(frozen=True, kw_only=True)
class BMojoBenchConfig:
    """rounds: turns of every side. lengths: tokens of the texts that are read, ascending; `bmojo` reads them `piece` tokens at a time.

    compared: tokens of the longest text that a transformer reads, since that takes time with the square.
    read_tokens: as many texts of a length as have so many tokens are read, at least one, so that short ones take time enough to measure.
    train_rows, train_tokens: rows and tokens of a training batch. shape: of `bmojo`; the others get as many parameters.
    """

    rounds: int = 5
    lengths: tuple[int, ...] = (1024, 2048, 4096, 8192, 16_384, 32_768)
    compared: int = 16_384
    piece: int = 1024
    read_tokens: int = 8192
    train_rows: int = 8
    train_tokens: int = 512
    shape: Mapping[str, Any] = field(default_factory=lambda: SHAPE)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rounds", "compared", "piece", "read_tokens", "train_rows", "train_tokens"):
            require_count(getattr(self, name), name)
        for length in self.lengths:
            require_count(length, "lengths")
        if len(self.lengths) < 2 or list(self.lengths) != sorted(set(self.lengths)):
            raise ConfigError(f"lengths must be two or more, ascending, not {self.lengths}.")

    def lengths_of(self, side: str) -> tuple[int, ...]:
        """Lengths of the texts that a side reads."""
        return self.lengths if side == BMOJO else tuple(length for length in self.lengths if length <= max(self.compared, self.lengths[0]))
