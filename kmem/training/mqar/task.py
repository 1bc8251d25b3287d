"""What is to be recalled: pairs of key and value in a sequence, and each key once more, where its value is the answer."""

from dataclasses import dataclass

from kmem.arguments import require_count
from kmem.errors import ConfigError, UnknownNameError

LAYOUTS = ("scattered", "zoology")
FILLERS = ("zeros", "random")


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """layout: `zoology`, all pairs first, then queries; `scattered`, pairs and queries anywhere. See generate.py.

    vocab_size: tokens; 0 is filler, the rest of the first half are keys, the second half values. tokens: of a sequence. pairs: in it, each
    asked once. filler: what stands elsewhere, `zeros` or `random` tokens of the whole vocabulary. power: how gaps are spread,
    1 = evenly, near 0 = mostly short. Raises ConfigError and UnknownNameError for what can't be laid out.
    """

    layout: str = "scattered"
    vocab_size: int = 1024
    tokens: int = 1024
    pairs: int = 64
    filler: str = "zeros"
    power: float = 0.01

    def __post_init__(self) -> None:
        for name in ("vocab_size", "tokens", "pairs"):
            require_count(getattr(self, name), name)
        for kind, name, known in (("layout", self.layout, LAYOUTS), ("filler", self.filler, FILLERS)):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        if self.tokens % 2:
            raise ConfigError(f"tokens must be even, not {self.tokens}: a pair stands at an even position.")
        if self.tokens < 4 * self.pairs:
            raise ConfigError(f"{self.pairs} pairs and as many queries need {4 * self.pairs} tokens, not {self.tokens}.")
        if self.pairs > self.keys:
            raise ConfigError(f"A vocabulary of {self.vocab_size} has {self.keys} keys, too few for {self.pairs} pairs.")
        if not 0 < self.power <= 1:
            raise ConfigError(f"power must be above 0 and at most 1, not {self.power}.")

    @property
    def keys(self) -> int:
        """Tokens 1 … keys are keys."""
        return max(0, self.vocab_size // 2 - 1)
