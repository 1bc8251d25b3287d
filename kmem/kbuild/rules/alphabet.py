"""What each character is, for the counting passes: one class a code point, and the small letter it counts as."""

import re
import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kmem.words import SPACELESS as _SPACELESS

POINTS = 0x110000

# In an order that makes whitespace, words, letters and line ends each one range.
OTHER, SPACE, NEWLINE, DIGIT, LETTER, SPACELESS, CONTROL, REPLACEMENT, BRACE, HASH, ELLIPSIS, DOT, STOP, QUOTE, BULLET, DASH = range(16)
CLASSES = 16

_NAMED = {
    NEWLINE: "\n",
    REPLACEMENT: "\ufffd",
    BRACE: "{}｛｝",
    HASH: "#",
    ELLIPSIS: "…⋯",
    DOT: ".",
    STOP: "!?。！？｡．؟۔।॥։՜՞።፧။།‼‽⁇⁈⁉；",  # ； ends the items of a Chinese list
    QUOTE: "\"'”’»›」』〉》",
    BULLET: "•‣⁃◦●○■□▪▫◆◇★☆►▶▸※·・➢➤✓✔",
    DASH: "-*+–—",
}
_NO_CHARACTERS = {"Cc", "Cs", "Co", "Cn"}
_FORMATTING = "\b\x1b"  # overstrikes and colours of a page formatted for a terminal
_PLANES = 0x20000  # what the database says beyond is Han, tags or nothing
_UNSPACED = re.compile(rf"[{_SPACELESS}\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff]")  # Thai, Lao, Tibetan, Burmese, Khmer too


@cache
def alphabet() -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """(class [POINTS], folded [POINTS]): the class of every code point, and the point of its small letter, itself where it has none.

    A combining mark is a letter, since it is part of a word. A letter of a script without spaces between words is SPACELESS.
    """
    classes, folded = np.full(POINTS, CONTROL, np.uint8), np.arange(POINTS, dtype=np.uint32)
    for point in range(_PLANES):
        character = chr(point)
        classes[point] = _class(character)
        if len(small := character.lower()) == 1:
            folded[point] = ord(small)
    classes[0x20000:0x40000] = SPACELESS
    classes[0xE0020:0xE01F0] = OTHER  # tags and variation selectors, as emoji carry them
    for kind, characters in _NAMED.items():
        classes[[ord(character) for character in characters]] = kind
    return classes, folded


def _class(character: str) -> int:
    category = unicodedata.category(character)
    if character.isspace():
        return SPACE
    if category in _NO_CHARACTERS:
        return OTHER if character in _FORMATTING or category == "Co" else CONTROL
    if category[0] in "LM":
        return SPACELESS if _UNSPACED.match(character) else LETTER
    return DIGIT if category[0] == "N" else OTHER
