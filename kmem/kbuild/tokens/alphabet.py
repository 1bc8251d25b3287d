"""What compiled code must know of a character: in which classes of the words' patterns it is, whether the tokenizer agrees, and whether a
Chinese one may belong to a token with its neighbour.
"""

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kmem.jit import compiled
from kmem.kbuild.tokens.joints import Joints
from kmem.kbuild.tokens.patterns import Classes, classes, composed

LETTER, NUMBER, SPACE, KNOWN, APART, ENDS, BEGINS = 1, 2, 4, 8, 16, 32, 64
"""Bits: \\p{L}, \\p{N} and \\s of the patterns; whether the tokenizer is known to agree about the character; then those of joints.py."""
CODE_POINTS = 0x20000
"""Of the table: all but the rare Chinese characters beyond, which the patterns don't know either."""
_SURROGATES = range(0xD800, 0xE000)


@cache
def _classes() -> NDArray[np.uint8]:
    every = "".join(" " if point in _SURROGATES else chr(point) for point in range(CODE_POINTS))
    table = np.zeros(CODE_POINTS, np.uint8)
    for bit, (_, ours) in zip((LETTER, NUMBER, SPACE), classes(), strict=True):
        for found in re.finditer(f"{ours}+", every):
            table[found.start() : found.end()] |= bit
    table[_SURROGATES.start : _SURROGATES.stop] = 0
    return table


class Alphabet:
    """`table` [CODE_POINTS] uint8: the bits of every character. composes: whether the tokenizer composes characters first."""

    def __init__(self, *, composes: bool, joints: Joints | None = None) -> None:
        self.table = _classes().copy()
        if joints is not None:
            for bit, characters in ((APART, joints.apart), (ENDS, joints.ends), (BEGINS, joints.begins)):
                self.table[characters] |= bit
        self._composes, self._agreement = composes, Classes()
        self._admit({chr(point) for point in range(128)})

    def knows(self, points: NDArray[np.uint32], text: str) -> bool:
        """Whether it is known what the tokenizer makes of every character of the text, whose code points [n] are given, too."""
        if _known(points, self.table):
            return True
        self._admit({character for character in set(text) if ord(character) < CODE_POINTS and not self.table[ord(character)] & KNOWN})
        return bool(_known(points, self.table))

    def _admit(self, characters: set[str]) -> None:
        for character in self._agreement.agreed("".join(characters)):
            if not self._composes or composed(character):
                self.table[ord(character)] |= KNOWN


@compiled
def _known(points, table):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    unknown = 0
    for point in points:
        if point >= len(table) or not table[point] & KNOWN:
            unknown += 1
    return unknown == 0
