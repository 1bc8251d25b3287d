"""Every option of stage two, with its one default; importable without torch."""

from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any

from kmem.arguments import require_count, require_name
from kmem.encoder.defaults import SMOLLM2
from kmem.errors import ConfigError, UnknownNameError
from kmem.leak.guard import TRAINING
from kmem.options import plain, read_options, section_of

SHIPPED = ("distil", "paper")
"""Recipes by name."""
CALIBRATION = 272
"""Passages that `kmem calibrate` looks at unless told otherwise: 240 to learn from, 32 to choose the bracket by."""
MODES = ("paper", "shifted")
KINDS = ("lora", "full")
SPIKES = ("skip", "roll_back", "off")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """corpora: sources whose held-out documents, one in four by its hash, are only judged by.

    reserved: documents of each that calibration looks at, and training leaves out. passages: learnt from at most. judged: held-out ones
    that the curve is about; no benchmark measures the first 64.
    """

    corpora: tuple[str, ...] = ("corpus:foldoc",)
    reserved: int = CALIBRATION
    passages: int = 4096
    judged: int = 32

    def __post_init__(self) -> None:
        require_count(self.reserved, "data.reserved", least=0)
        require_count(self.passages, "data.passages")
        require_count(self.judged, "data.judged")
        for corpus in self.corpora or ("",):
            require_name(corpus, "data.corpora")


@dataclass(frozen=True, kw_only=True)
class AskedConfig:
    """Questions about a passage that read its memory: batch_size of them a batch; among: memories beside each other, the right one
    anywhere, in one batch of `among_every`.
    """

    batch_size: int = 4
    among: int = 5
    among_every: int = 3

    def __post_init__(self) -> None:
        require_count(self.batch_size, "asked.batch_size", least=0)
        require_count(self.among, "asked.among")
        require_count(self.among_every, "asked.among_every")


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Running text whose chunks read what a search found for them: batch_size sequences of `tokens` a batch.

    references: found for a chunk of `chunk` tokens. before: chunks in front of it whose references it reads, too. Memory³ has 1 and 4.
    mode: what a chunk's references are found with, `paper` its own text, `shifted` the chunk before. leak: references of which the
    sequence has a larger share, in the same order, are passed over (Eq. 6). embedder: a retriever that has vectors.
    """

    batch_size: int = 0
    tokens: int = 512
    chunk: int = 64
    references: int = 1
    before: int = 4
    mode: str = "paper"
    leak: float = TRAINING
    embedder: str = "minilm"

    def __post_init__(self) -> None:
        require_count(self.batch_size, "text.batch_size", least=0)
        require_count(self.tokens, "text.tokens", least=2)
        require_count(self.chunk, "text.chunk")
        require_count(self.references, "text.references")
        require_count(self.before, "text.before", least=0)
        require_name(self.embedder, "text.embedder")
        if self.mode not in MODES:
            raise UnknownNameError("mode", self.mode, MODES)
        if not 0 <= self.leak <= 1:
            raise ConfigError(f"text.leak is {self.leak}, not a share of the reference: give a number from 0 to 1.")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What a target token costs: text, the next token of running text; next_token, that of what is asked; distillation, what the
    prediction of the untrained model with the text in its prompt loses when it is told by the trained one with memories.
    """

    text: float = 1.0
    next_token: float = 0.0
    distillation: float = 1.0

    def __post_init__(self) -> None:
        if min(self.text, self.next_token, self.distillation) < 0:
            raise ConfigError("The weights text, next_token and distillation of a loss must be 0 or more.")


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """kind: `lora` trains two thin matrices beside each of `targets`, of rank `rank`, scaled by alpha / rank; `full` all weights."""

    kind: str = "lora"
    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownNameError("kind of adapter", self.kind, KINDS)
        require_count(self.rank, "adapter.rank")
        for name in self.targets or ("",):
            require_name(name, "adapter.targets")
        if not self.alpha > 0:
            raise ConfigError(f"adapter.alpha must be above 0, not {self.alpha}.")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """steps: updates by AdamW, each of `accumulate` batches. The rate rises over `warmup_steps`, stays, and falls to 0 over the last
    `decay` of the steps. clip: of the norm of the gradient. dtype: of matrix products.

    A step whose loss is not finite, or more than spike_factor times the median of the last `spike_window`, changes nothing; with
    spike `roll_back` weights go back to the last checkpoint and the rate is halved; `off` minds only what isn't finite.
    judge_steps: between two looks at what is held out. checkpoint_steps: between two checkpoints.
    """

    steps: int = 600
    accumulate: int = 1
    learning_rate: float = 0.0003
    warmup_steps: int = 20
    decay: float = 0.2
    weight_decay: float = 0.0
    clip: float = 1.0
    dtype: str = "float32"
    spike: str = "skip"
    spike_factor: float = 4.0
    spike_window: int = 32
    judge_steps: int = 100
    checkpoint_steps: int = 25

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "spike_window", "judge_steps", "checkpoint_steps"):
            require_count(getattr(self, name), name)
        require_count(self.warmup_steps, "warmup_steps", least=0)
        if not (self.learning_rate > 0 and self.clip > 0 and self.weight_decay >= 0):
            raise ConfigError("learning_rate and clip must be above 0 and weight_decay 0 or more.")
        if not 0 <= self.decay <= 1:
            raise ConfigError(f"decay is {self.decay}, not a share of the steps: give a number from 0 to 1.")
        if not self.spike_factor > 1:
            raise ConfigError(f"spike_factor is {self.spike_factor}; a spike is more than the median: give a number above 1.")
        for name, known in (("spike", SPIKES), ("dtype", ("float32", "bfloat16"))):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, getattr(self, name), known)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run: which model, in which profile, on what, how, and from which seed."""

    model: str = SMOLLM2
    profile: str = "smollm2-360"
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    asked: AskedConfig = field(default_factory=AskedConfig)
    text: TextConfig = field(default_factory=TextConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        require_name(self.model, "model")
        require_name(self.profile, "profile")
        require_count(self.seed, "seed", least=0)
        learns_asked = self.asked.batch_size and self.losses.next_token + self.losses.distillation > 0
        if not learns_asked and not (self.text.batch_size and self.losses.text):
            raise ConfigError("The recipe learns from nothing: give asked or text a batch_size, and one of its losses a weight.")

    def to_dict(self) -> dict[str, Any]:
        """As YAML and JSON have it."""
        found: dict[str, Any] = plain(asdict(self))
        return found


def recipe_of(source: str) -> dict[str, Any]:
    """The options of a shipped recipe, or of a YAML file. Raises ConfigError for a file that can't be read or holds none."""
    path = str(files("kmem.training.memory") / "recipes" / f"{source}.yaml") if source in SHIPPED else source
    return read_options(path, command="kmem train memory")


def checked(options: dict[str, Any]) -> Recipe:
    """The recipe of these options. Raises ConfigError for a name that there is not, and what the sections raise about values."""
    recipe: Recipe = section_of(Recipe, options)
    return recipe
