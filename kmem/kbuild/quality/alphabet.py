"""Characters by kind, as tables that compiled code can look up: what a word, a number or a mark is in any script."""

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

SPACE, LETTER, DIGIT, MARK, HAN, NEWLINE = range(6)
TABLE = 1 << 16
HIGH_HAN = range(0x20000, 0x40000)
"""Above the table only these are letters of their own; the rest, emoji for the most part, are marks."""
TERMINAL = frozenset(".!?…。！？”」』\"'")
"""What a sentence ends with; the last mark of a line."""

_ALONE = ((0x3040, 0x3100), (0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00))
"""Kana and Chinese characters, written without spaces: each is a token."""


def kind_of(character: str) -> int:
    """SPACE, LETTER (combining marks count as such), DIGIT, MARK (punctuation, symbols, all else), HAN or NEWLINE."""
    code = ord(character)
    if character == "\n":
        return NEWLINE
    if character.isspace():
        return SPACE
    if any(start <= code < end for start, end in _ALONE) or code in HIGH_HAN:
        return HAN
    category = unicodedata.category(character)
    if code >= TABLE or category[0] not in "LMN":
        return MARK
    return DIGIT if category == "Nd" else LETTER if category[0] in "LM" else MARK


def lower_of(character: str) -> str:
    """The character in lower case where that is one character of the table, else itself."""
    lower = character.lower()
    return lower if len(lower) == 1 and ord(lower) < TABLE and ord(character) < TABLE else character


@cache
def kinds() -> NDArray[np.uint8]:
    """[65536]: `kind_of` of every code point of the table."""
    return np.array([kind_of(chr(code)) for code in range(TABLE)], dtype=np.uint8)


@cache
def lowers() -> NDArray[np.uint32]:
    """[65536]: `lower_of` of the same."""
    return np.array([ord(lower_of(chr(code))) for code in range(TABLE)], dtype=np.uint32)


@cache
def terminals() -> NDArray[np.bool_]:
    """[65536]: whether it is in TERMINAL."""
    return np.array([chr(code) in TERMINAL for code in range(TABLE)])
