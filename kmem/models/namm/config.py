"""Every option of a NAMM, with its one default; importable without torch. The defaults are the paper's (arXiv 2410.13166)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from kmem.arguments import require_count
from kmem.errors import ConfigError, UnknownNameError
from kmem.options import require_known, value_of

SCORERS = ("bam", "mlp")


@dataclass(frozen=True, kw_only=True)
class NammConfig:
    """Raises ConfigError, WrongTypeError or UnknownNameError for what can't be.

    n_fft, hop: tokens of a frame of the spectrogram and between two frames; n_fft is twice the hop. ema: what is left of a frame's weight
    one token later. recency: features of a token's age, half sines, half cosines, of frequencies recency_base^(−2k/recency).
    scorer: `bam`, attention of each token to the newer ones, with `hidden` channels, or `mlp`, each token by itself.
    delay: tokens between two firings, a multiple of the hop. watch: tokens before a firing whose attention is read, a multiple of the hop;
    0 = all of them. At the default ema the last 128 of 512 carry 0.72 of the average, for a quarter of the work.
    protect: newest tokens, and last tokens of the prompt (a chat template ends there), that are never dropped; the paper's code has 1.
    layers, heads: of the model that it is for, each key-value head of which then has a bias of its own; 0 = none, as the paper's.
    """

    n_fft: int = 32
    hop: int = 16
    ema: float = 0.99
    recency: int = 8
    recency_base: float = 50_000.0
    scorer: str = "bam"
    hidden: int = 32
    delay: int = 512
    watch: int = 0
    protect: int = 8
    layers: int = 0
    heads: int = 0

    def __post_init__(self) -> None:
        for name, least in {"hop": 1, "hidden": 1, "delay": 1, "watch": 0, "protect": 1, "recency": 2, "layers": 0, "heads": 0}.items():
            require_count(getattr(self, name), name, least=least)
        if self.scorer not in SCORERS:
            raise UnknownNameError("scorer", self.scorer, SCORERS)
        if self.n_fft != 2 * self.hop:
            raise ConfigError(f"n_fft must be twice the hop of {self.hop}, not {self.n_fft}: frames overlap by half.")
        if self.recency % 2:
            raise ConfigError(f"recency must be even, not {self.recency}: every frequency has a sine and a cosine.")
        if self.delay % self.hop or self.watch % self.hop or self.watch > self.delay:
            raise ConfigError(
                f"delay and watch must be multiples of the hop of {self.hop} and watch at most delay, not {self.delay} and {self.watch}."
            )
        if bool(self.layers) != bool(self.heads):
            raise ConfigError(f"layers and heads must be given both or neither, not {self.layers} and {self.heads}.")
        if not 0 < self.ema < 1:
            raise ConfigError(f"ema must lie between 0 and 1, not {self.ema}.")
        if not self.recency_base > 1:
            raise ConfigError(f"recency_base must be above 1, not {self.recency_base}.")

    @property
    def bins(self) -> int:
        """Frequencies of a spectrum."""
        return self.n_fft // 2 + 1

    @property
    def width(self) -> int:
        """Features of a token: recency, then the spectrum."""
        return self.recency + self.bins

    @property
    def watched(self) -> int:
        """Tokens before a firing whose attention is read."""
        return self.watch or self.delay

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "NammConfig":
        """What `to_dict` gave; options that it lacks have their defaults. Raises ConfigError for an unknown one or a wrong value."""
        require_known(data, [entry.name for entry in fields(cls)], "")
        default = cls()
        kinds = {entry.name: type(getattr(default, entry.name)) for entry in fields(cls)}
        return cls(**{name: value_of(value, kinds[name], getattr(default, name), name) for name, value in data.items()})
