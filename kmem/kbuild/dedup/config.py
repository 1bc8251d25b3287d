"""What counts as a copy, with the one default of each choice; importable without numba."""

from dataclasses import asdict, dataclass
from typing import Any

from kmem.arguments import require_count
from kmem.errors import ConfigError, UnknownNameError

MODES = ("near", "exact", "none")
MOST_PERMUTATIONS = 1024
MEMORY_BYTES, TEXT_BYTES, FILE_BYTES = 2 << 30, 20, 320
"""What comparing takes: in memory at most, and more of it for each text; and in temporary files for each, at 128 permutations."""


@dataclass(frozen=True, kw_only=True)
class DedupConfig:
    """How alike two texts must be for the later one to be dropped.

    mode: `exact`, the same characters but for whitespace; `near`, those and near-duplicates; `none`.
    threshold: the Jaccard similarity of two texts' shingles, as their signatures estimate it, from which on the later is a near-duplicate.
    retitled_threshold: the same for two texts of which only one has a title, or each its own: a title says what a text is about, and
    dictionaries and laws say much the same of many things. It is never below `threshold`, which takes the place of a smaller one.
    shingle_words: words in a row that make a shingle; a Chinese or Japanese character is a word (kmem/words.py).
    permutations: values of a signature. min_words: shorter texts are compared exactly only: a few words, one of them another, are another
    statement.
    """

    mode: str = "near"
    threshold: float = 0.5
    retitled_threshold: float = 0.85
    shingle_words: int = 5
    permutations: int = 128
    min_words: int = 40

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UnknownNameError("deduplication", self.mode, MODES)
        for name in ("threshold", "retitled_threshold"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; a similarity lies above 0 and at most at 1: give one such as 0.5.")
        object.__setattr__(self, "retitled_threshold", max(self.threshold, self.retitled_threshold))
        for name in ("shingle_words", "permutations", "min_words"):
            require_count(getattr(self, name), name)
        if self.permutations > MOST_PERMUTATIONS:
            raise ConfigError(f"permutations is {self.permutations}; more than {MOST_PERMUTATIONS} cost bytes and tell nothing more.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
