"""Every option of a comparison of language models, with its one default; importable without torch."""

from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any

from kmem.arguments import require_count, require_name
from kmem.encoder.defaults import SMOLLM2
from kmem.errors import ConfigError
from kmem.options import plain, read_options, section_of
from kmem.training.variants import require_variant

BASE = "bmojo"
"""Whose parameters all have."""
SHIPPED = ("vital",)
"""Recipes by name."""
MULTIPLES = (1, 2, 4, 8)
"""Of the length that is trained on, at which a model is judged."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """corpora: documents, of which one in four, by its hash, is only judged by. tokenizer: a byte-level one, cut to its first
    `vocab_size` tokens. judged_tokens: of the held-out documents.
    """

    corpora: tuple[str, ...] = ("corpus:foldoc", "corpus:vital-articles")
    tokenizer: str = SMOLLM2
    vocab_size: int = 4096
    judged_tokens: int = 65_536

    def __post_init__(self) -> None:
        require_count(self.vocab_size, "vocab_size", least=257)
        require_count(self.judged_tokens, "judged_tokens")
        for corpus in self.corpora or ("",):
            require_name(corpus, "corpora")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of BASE, as BMojoConfig has it; others are as wide and have as many parameters (models/bmojo/equal.py)."""

    hidden_size: int = 128
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 1
    intermediate_size: int = 344
    window: int = 128
    chunk: int = 64
    fading: int = 64
    eidetic: int = 64
    innovation: str = "average"
    state_size: int = 64
    state_expand: int = 1


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """steps: updates of `batch_size` rows of `tokens` tokens, AdamW; the rate rises over `warmup_steps`, then falls as a cosine to 0.

    clip: of the norm of the gradient. checkpoint_steps: between two checkpoints.
    """

    steps: int = 320
    batch_size: int = 16
    tokens: int = 256
    learning_rate: float = 0.003
    warmup_steps: int = 40
    weight_decay: float = 0.1
    clip: float = 1.0
    checkpoint_steps: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_steps"):
            require_count(getattr(self, name), name)
        require_count(self.tokens, "tokens", least=2)
        require_count(self.warmup_steps, "warmup_steps", least=0)
        if not (self.learning_rate > 0 and self.clip > 0 and self.weight_decay >= 0):
            raise ConfigError("learning_rate and clip must be above 0 and weight_decay 0 or more.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One comparison: who, on what, how, and from which seed. Raises ConfigError and UnknownNameError for what can't be."""

    variants: tuple[str, ...] = (BASE, "transformer", "hybrid")
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        require_count(self.seed, "seed", least=0)
        for name in self.variants:
            require_variant(name)
        if not self.variants or len(set(self.variants)) < len(self.variants):
            raise ConfigError(f"variants must be one or more different names, not {list(self.variants)}.")
        longest = MULTIPLES[-1] * self.training.tokens
        if self.data.judged_tokens % longest:
            raise ConfigError(f"judged_tokens {self.data.judged_tokens} must be a multiple of {longest}, the longest length judged.")

    def to_dict(self) -> dict[str, Any]:
        """As YAML and JSON have it."""
        found: dict[str, Any] = plain(asdict(self))
        return found


def recipe_of(source: str) -> dict[str, Any]:
    """The options of a shipped recipe, or of a YAML file. Raises ConfigError for a file that can't be read or holds none."""
    path = str(files("kmem.training.lm") / "recipes" / f"{source}.yaml") if source in SHIPPED else source
    return read_options(path, command="kmem train lm")


def checked(options: dict[str, Any]) -> Recipe:
    """The recipe of these options. Raises ConfigError for a name that there is not, and what the sections raise about values."""
    recipe: Recipe = section_of(Recipe, options)
    return recipe
