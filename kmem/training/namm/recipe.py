"""Every option of learning a NAMM, with its one default; importable without torch."""

from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any

from kmem.arguments import require_count, require_name
from kmem.encoder.defaults import DTYPE, SMOLLM2
from kmem.errors import ConfigError, UnknownNameError
from kmem.models.namm.config import NammConfig
from kmem.options import plain, read_options, section_of

SHIPPED = ("smollm2", "smollm2-bam")
"""Recipes by name, each under two hours on two cores: tokens by themselves, and tokens that look at newer ones."""
ALGORITHMS = ("separable", "full")
TARGETS = ("effect", "attention")


@dataclass(frozen=True, kw_only=True)
class TasksConfig:
    """names: tasks (training/namm/tasks), in the order in which evolution takes them up. corpora: short documents; long_corpora: those of
    the task `article`; of either one in four, by its hash, is left to `kmem bench namm`.

    tokens: lengths of prompts, in turn. prompts: of each task, to learn from; judges: of each task, which choose among what was evolved.
    """

    names: tuple[str, ...] = ("recall", "questions", "passage", "article")
    corpora: tuple[str, ...] = ("corpus:vital-articles",)
    long_corpora: tuple[str, ...] = ("corpus:sotu",)
    tokens: tuple[int, ...] = (1120, 1632)
    prompts: int = 24
    judges: int = 8

    def __post_init__(self) -> None:
        for name in ("names", "corpora", "long_corpora"):
            for entry in getattr(self, name) or ("",):
                require_name(entry, name)
        if len(set(self.names)) < len(self.names):
            raise ConfigError(f"names must be different tasks, not {list(self.names)}.")
        for name in ("prompts", "judges"):
            require_count(getattr(self, name), name)
        for length in self.tokens or (0,):
            require_count(length, "tokens")


@dataclass(frozen=True, kw_only=True)
class SizeConfig:
    """share: of the cache that is to be kept; above it, fitness falls by `weight` for each such share more. The paper has no such
    pressure: its models drop what harms them. One of 135M parameters gains nothing by dropping, so without it everything is kept.
    """

    share: float = 0.4
    weight: float = 0.5

    def __post_init__(self) -> None:
        if not (0 < self.share <= 1 and self.weight >= 0):
            raise ConfigError(f"share must lie above 0 and be at most 1, and weight 0 or more, not {self.share} and {self.weight}.")


@dataclass(frozen=True, kw_only=True)
class RegressionConfig:
    """steps: updates by Adam, of `batch_size` layers of recordings each; 0 = evolution starts at zero, as the paper's does.

    target: a token's worth, `attention` that it will still get, or its `effect` on the answer's log-likelihood, in first order.
    asked: of `attention`, how much is what question and answer pay it; the rest is what the text after it does.
    """

    steps: int = 600
    batch_size: int = 8
    learning_rate: float = 0.003
    target: str = "effect"
    asked: float = 0.7

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise UnknownNameError("target", self.target, TARGETS)
        require_count(self.steps, "steps", least=0)
        require_count(self.batch_size, "batch_size")
        if not (self.learning_rate > 0 and 0 <= self.asked <= 1):
            raise ConfigError(f"learning_rate must be above 0 and asked between 0 and 1, not {self.learning_rate} and {self.asked}.")


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """steps: updates by Adam, of a recording each, after the regression; 0 = none. head_learning_rate: of the biases of heads.
    temperature: that gates end with; they begin at 1.
    """

    steps: int = 0
    learning_rate: float = 0.003
    head_learning_rate: float = 0.05
    temperature: float = 0.25

    def __post_init__(self) -> None:
        require_count(self.steps, "steps", least=0)
        if not (self.learning_rate > 0 and self.head_learning_rate > 0 and 0 < self.temperature <= 1):
            raise ConfigError(
                "learning_rate and head_learning_rate must be above 0 and temperature above 0 and at most 1, not "
                f"{self.learning_rate}, {self.head_learning_rate} and {self.temperature}."
            )


@dataclass(frozen=True, kw_only=True)
class EvolutionConfig:
    """algorithm: `separable` or `full` CMA-ES. generations: of each stage, and there is a stage a task, with it and those before it.

    population: members, each evaluated on the same `prompts` recordings a task. sigma: standard deviation of the first members. judged: the
    mean is tried on the judges every so many generations.
    """

    algorithm: str = "separable"
    generations: int = 15
    population: int = 16
    prompts: int = 6
    sigma: float = 0.02
    judged: int = 5

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise UnknownNameError("algorithm", self.algorithm, ALGORITHMS)
        require_count(self.generations, "generations", least=0)
        require_count(self.population, "population", least=4)
        for name in ("prompts", "judged"):
            require_count(getattr(self, name), name)
        if not self.sigma > 0:
            raise ConfigError(f"sigma must be above 0, not {self.sigma}.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run: for which model, on what, how, and from which seed. Raises ConfigError, WrongTypeError and UnknownNameError."""

    model: str = SMOLLM2
    dtype: str = DTYPE
    seed: int = 0
    namm: NammConfig = field(default_factory=NammConfig)
    tasks: TasksConfig = field(default_factory=TasksConfig)
    size: SizeConfig = field(default_factory=SizeConfig)
    regression: RegressionConfig = field(default_factory=RegressionConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)

    def __post_init__(self) -> None:
        require_count(self.seed, "seed", least=0)
        require_name(self.model, "model")
        require_name(self.dtype, "dtype")
        shortest = min(self.tasks.tokens)
        if shortest <= self.namm.delay:
            raise ConfigError(f"tokens {shortest} must be above the delay of {self.namm.delay}: a shorter prompt is never scored.")
        if self.evolution.prompts > self.tasks.prompts:
            raise ConfigError(f"evolution.prompts {self.evolution.prompts} must be at most the {self.tasks.prompts} recorded of a task.")

    def to_dict(self) -> dict[str, Any]:
        """As YAML and JSON have it."""
        found: dict[str, Any] = plain(asdict(self))
        return found


def recipe_of(source: str) -> dict[str, Any]:
    """The options of a shipped recipe, or of a YAML file. Raises ConfigError for a file that can't be read or holds none."""
    path = str(files("kmem.training.namm") / "recipes" / f"{source}.yaml") if source in SHIPPED else source
    return read_options(path, command="kmem evolve")


def checked(options: dict[str, Any]) -> Recipe:
    """The recipe of these options. Raises ConfigError for a name that there is not, and what the sections raise about values."""
    recipe: Recipe = section_of(Recipe, options)
    return recipe
