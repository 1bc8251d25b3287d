"""One document as the rules see it: its characters are counted at once, the rest once, when a rule asks."""

from functools import cache, cached_property
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from kmem.kbuild.rules.alphabet import DIGIT, LETTER, NEWLINE, SPACE, SPACELESS, alphabet
from kmem.kbuild.rules.stop_words import STOP_WORDS


class View:
    """The text, its counts and figures (counting.py says which stands where), and the words in them.

    points: code points [N]; half a surrogate pair, which no reader lets through, is one too. counts: `counting.characters`.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.points: NDArray[np.uint32] = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        self.counts: list[int] = _passes().characters(self.points, alphabet()[0]).tolist()

    @property
    def shown(self) -> int:
        """Characters that are no whitespace."""
        return len(self.text) - self.counts[SPACE] - self.counts[NEWLINE]

    @property
    def alphanumeric(self) -> int:
        """Characters that words are made of."""
        counts = self.counts
        return counts[DIGIT] + counts[LETTER] + counts[SPACELESS]

    @cached_property
    def units(self) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
        """`counting.units`: words of scripts with spaces, characters of scripts without."""
        hashes, lengths = _passes().units(self.points, *alphabet())
        return hashes, lengths

    @cached_property
    def spaced_words(self) -> int:
        """Words of scripts that part them by spaces."""
        return len(self.units[0]) - self.counts[SPACELESS]

    @cached_property
    def words(self) -> float:
        """Words of any script; where none are parted by spaces, two characters count as one."""
        return self.spaced_words + self.counts[SPACELESS] / 2

    @property
    def is_spaced(self) -> bool:
        """Whether most of its words are parted by spaces."""
        return self.spaced_words >= self.counts[SPACELESS] / 2

    @cached_property
    def figures(self) -> list[float]:
        """`counting.prose`."""
        figures: list[float] = _passes().prose(self.points, alphabet()[0], self.units[0], stop_table()).tolist()
        return figures

    @cached_property
    def phrases(self) -> tuple[list[int], list[int]]:
        """`counting.phrases`: by words of a phrase, what the top one takes and what is repeated, in characters."""
        top, repeated = _passes().phrases(*self.units, 1 if self.is_spaced else 2)
        return top.tolist(), repeated.tolist()

    @cached_property
    def lower(self) -> str:
        """The text in small letters."""
        return self.text.lower()

    @property
    def words_mean_length(self) -> float:
        """Characters of a word, those of scripts without spaces left out."""
        return (self.counts[LETTER] + self.counts[DIGIT]) / self.spaced_words if self.spaced_words else 0.0


@cache
def _passes() -> ModuleType:
    """Machine code: numba takes half a second to import, which is not for who only lists the rules."""
    from kmem.kbuild.rules import counting

    return counting


@cache
def stop_table() -> NDArray[np.uint64]:
    """The stop words of all languages as an open hash table [power of two] for `counting.prose`."""
    hashes = View(" ".join(STOP_WORDS)).units[0]
    table = np.zeros(2048, np.uint64)
    for value in np.unique(hashes):
        slot = int(value) & 2047
        while table[slot]:
            slot = (slot + 1) & 2047
        table[slot] = value
    return table
