"""What compiled code must know of a character: in which classes of the words' patterns it is, and in which of Python's."""

import re
from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kmem.jit import compiled
from kmem.kbuild.tokens.patterns import Classes, classes, composed

LETTER, NUMBER, SPACE, KNOWN, BLANK, WORD, CUT, ADDED = 1, 2, 4, 8, 16, 32, 64, 128
"""Bits: \\p{L}, \\p{N} and \\s of the patterns; whether the tokenizer is known to agree; `str.isspace`; `\\w` of Python; whether words may
be cut before and behind it (crossing.py); whether an added token begins with it.
"""

CODE_POINTS = 0x20000
"""Of the table: all but the rare Chinese characters beyond, which the patterns don't know either."""
_SURROGATES = range(0xD800, 0xE000)


@cache
def _every() -> str:
    return "".join(" " if point in _SURROGATES else chr(point) for point in range(CODE_POINTS))


@cache
def _classes() -> NDArray[np.uint8]:
    table = np.zeros(CODE_POINTS, np.uint8)
    ours = [pattern for _, pattern in classes()]
    for bit, pattern in zip((LETTER, NUMBER, SPACE, BLANK, WORD), [*ours, r"\s", r"\w"], strict=True):
        for found in re.finditer(f"{pattern}+", _every()):
            table[found.start() : found.end()] |= bit
    return table


class Characters:
    """`table` [CODE_POINTS] uint8: the bits of every character.

    composes: whether the tokenizer composes characters first. added: with what its added tokens begin. cut [CODE_POINTS] bool: `cuttable`.
    """

    def __init__(self, composes: bool, added: Iterable[str], cut: NDArray[np.bool_]) -> None:
        self.table = _classes().copy()
        self.table[cut & (self.table & LETTER > 0)] |= CUT
        for character in added:
            if ord(character) < CODE_POINTS:
                self.table[ord(character)] |= ADDED
        self._composes, self._agreement = composes, Classes()
        self._admit("".join(map(chr, range(128))))

    def sure(self, points: NDArray[np.uint32], text: str) -> bool:
        """Whether it is known what the tokenizer makes of every character of the text, whose code points [n] are given, too."""
        return self.bits(points, text) >= 0

    def bits(self, points: NDArray[np.uint32], text: str) -> int:
        """All bits that any character has; −1 where one is not known."""
        found = int(_bits(points, self.table))
        if found < 0:
            self._admit("".join(set(text)))
            found = int(_bits(points, self.table))
        return found

    def _admit(self, characters: str) -> None:
        for character in self._agreement.agreed(characters):
            if ord(character) < CODE_POINTS and (not self._composes or composed(character)):
                self.table[ord(character)] |= KNOWN


@compiled
def _bits(points, table):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    found = 0
    for place in range(len(points)):
        if points[place] >= len(table) or not table[points[place]] & KNOWN:
            return -1
        found |= table[points[place]]
    return found
