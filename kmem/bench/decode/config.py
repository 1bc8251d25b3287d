"""Every option of the benchmark of decoding, with its one default; importable without torch."""

from dataclasses import dataclass

from kmem.arguments import require_count, require_name
from kmem.encoder.defaults import AUTO
from kmem.errors import ConfigError
from kmem.kstore.defaults import TOP_K
from kmem.runtime.defaults import EVERY_TOKENS

PROMPT_TOKENS, NEW_TOKENS = 128, 128
"""Memory³ §7.5."""
SHORT, LONG = 32, 512
LARGE_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One size of the task: rows of a batch, and tokens that each generates."""

    batch: int
    new_tokens: int

    @property
    def name(self) -> str:
        return f"batch{self.batch}_out{self.new_tokens}"


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """rounds: turns of every side at every cell. full: also the cells that take long (8 rows, 512 tokens) and reading from the device.

    batches, new_tokens: the cells by hand, every pairing of the two; None = those of `full` or not.
    corpus, memories, profile: the bank that is built where none is given: its first `memories` chunks, under this profile.
    running: as one running text, so that references are about as long as Memory³'s 128 tokens, and not as its documents come.
    prompt_tokens of text a row; top_k memories every `every` tokens.
    """

    rounds: int = 7
    full: bool = False
    batches: tuple[int, ...] | None = None
    new_tokens: tuple[int, ...] | None = None
    corpus: str = "corpus:foldoc"
    memories: int = 500
    running: bool = True
    profile: str = AUTO
    prompt_tokens: int = PROMPT_TOKENS
    top_k: int = TOP_K
    every: int = EVERY_TOKENS
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rounds", "memories", "prompt_tokens", "top_k", "every"):
            require_count(getattr(self, name), name)
        for name in ("batches", "new_tokens"):
            given = getattr(self, name)
            if given is not None and not given:
                raise ConfigError(f"{name} is empty; give at least one, or None for the usual ones.")
            for value in given or ():
                require_count(value, name)
        if min(self.new_tokens or (2,)) < 2:
            raise ConfigError("new_tokens must be at least 2: a single token has no speed.")
        for name in ("corpus", "profile"):
            require_name(getattr(self, name), name)

    @property
    def is_papers(self) -> bool:
        """Whether prompts, memories and ticks are those that figures are asked of."""
        return (self.prompt_tokens, self.top_k, self.every) == (PROMPT_TOKENS, TOP_K, EVERY_TOKENS)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """What is measured, cheapest questions first."""
        if self.batches is not None or self.new_tokens is not None:
            asked = [(batch, new) for batch in self.batches or (1,) for new in self.new_tokens or (NEW_TOKENS,)]
        else:
            asked = [(1, SHORT), (1, NEW_TOKENS)]
            asked += [(1, LONG), *((LARGE_BATCH, new) for new in (SHORT, NEW_TOKENS, LONG))] if self.full else []
        return tuple(Cell(batch=batch, new_tokens=new) for batch, new in asked)
