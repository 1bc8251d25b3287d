"""Every option of a run, with its one default; importable without torch."""

from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from typing import Any

from kmem.arguments import require_count
from kmem.errors import ConfigError
from kmem.options import plain, read_options, section_of
from kmem.training.mqar.task import TaskConfig
from kmem.training.variants import require_variant

SHIPPED = ("scattered", "zoology")
"""Recipes by name: `scattered`, minutes on a CPU; `zoology`, the published sizes, for a GPU."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes of `bmojo`, as BMojoConfig has them; the other variants get those that cost as many bytes (sizing.py).

    Two layers: a gated convolution, which joins a value with its key, and the variant's mixer; `hybrid` has a third. No MLP, no positions.
    """

    hidden_size: int = 64
    query_heads: int = 4
    key_value_heads: int = 1
    head_dim: int = 8
    window: int = 16
    chunk: int = 8
    fading: int = 8
    eidetic: int = 160
    innovation: str = "average"
    average_tokens: int = 8
    state_size: int = 4
    state_heads: int = 2
    initializer_range: float = 0.1


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """steps: updates of `batch_size` sequences, AdamW; the rate rises over `warmup_steps`, then falls as a cosine to 0. clip: of the norm
    of the gradient.

    slow: variants that learn more slowly, and get `slow_steps`. curriculum: so many pairs at first, for `curriculum_steps` each, in
    sequences shorter in proportion and as many tokens a batch. checkpoint_steps: between two checkpoints.
    """

    steps: int = 1_000
    slow: tuple[str, ...] = ("ssm", "hybrid")
    slow_steps: int = 2_000
    batch_size: int = 4
    learning_rate: float = 0.005
    warmup_steps: int = 30
    weight_decay: float = 0.01
    clip: float = 1.0
    curriculum: tuple[int, ...] = (4, 8, 16, 32)
    curriculum_steps: int = 100
    checkpoint_steps: int = 50

    def __post_init__(self) -> None:
        for name in ("steps", "slow_steps", "batch_size", "checkpoint_steps"):
            require_count(getattr(self, name), name)
        for name in ("warmup_steps", "curriculum_steps"):
            require_count(getattr(self, name), name, least=0)
        for name in self.slow:
            require_variant(name)
        for pairs in self.curriculum:
            require_count(pairs, "curriculum")
        if not (self.learning_rate > 0 and self.clip > 0 and self.weight_decay >= 0):
            raise ConfigError("learning_rate and clip must be above 0 and weight_decay 0 or more.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run: what is learnt, by what, how, and from which seed."""

    variant: str = "bmojo"
    seed: int = 0
    task: TaskConfig = field(default_factory=TaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        require_count(self.seed, "seed", least=0)
        require_variant(self.variant)
        if max(self.training.curriculum, default=1) > self.task.pairs:
            raise ConfigError(f"curriculum {self.training.curriculum} goes beyond the task's {self.task.pairs} pairs.")

    @property
    def schedule(self) -> TrainingConfig:
        """How this variant is trained."""
        training = self.training
        return replace(training, steps=training.slow_steps) if self.variant in training.slow else training

    def to_dict(self) -> dict[str, Any]:
        """As YAML and JSON have it."""
        found: dict[str, Any] = plain(asdict(self))
        return found


def recipe_of(source: str) -> dict[str, Any]:
    """The options of a shipped recipe, or of a YAML file. Raises ConfigError for a file that can't be read or holds none."""
    path = str(files("kmem.training.mqar") / "recipes" / f"{source}.yaml") if source in SHIPPED else source
    return read_options(path, command="kmem train mqar")


def checked(options: dict[str, Any]) -> Recipe:
    """The recipe of these options. Raises ConfigError for a name that there is not, and what the sections raise about values."""
    recipe: Recipe = section_of(Recipe, options)
    return recipe
