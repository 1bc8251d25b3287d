"""Which characters make words, as a table that compiled code can look up; the words are those of kmem/words.py."""

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kmem.words import SPACELESS

WORD, ALONE, NUMERIC = 1, 2, 4
"""Bits of a character's class: part of a word; a word by itself; part of a number."""

_CODE_POINTS = 0x40000
"""No letter or number is assigned beyond."""
_SURROGATES = range(0xD800, 0xE000)
_ALONE = re.compile(rf"[{SPACELESS}]+")
_PARTS = re.compile(rf"[^\W_{SPACELESS}]+")


@cache
def character_classes() -> NDArray[np.uint8]:
    """[code points] the class of each; 0 for what separates words."""
    every = "".join(" " if point in _SURROGATES else chr(point) for point in range(_CODE_POINTS))
    classes = np.zeros(_CODE_POINTS, np.uint8)
    for pattern, bit in ((_PARTS, WORD), (_ALONE, ALONE)):
        for found in pattern.finditer(every):
            classes[found.start() : found.end()] |= bit
    numeric = np.fromiter(map(str.isnumeric, every), bool, _CODE_POINTS)
    classes[numeric & (classes > 0)] |= NUMERIC
    return classes
