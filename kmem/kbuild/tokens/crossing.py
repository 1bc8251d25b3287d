"""Where a byte-level BPE model can't join two characters of a word, so that it gives the tokens of both parts, each by itself.

A symbol that the model ever holds, the final tokens included, is a byte or comes of a merge, and both are in the vocabulary. To join what
lies on both sides of a boundary it needs a token t = uv, where the left text ends with u and the right begins with v. Where no vocabulary
token can be parted that way, no merge ever lies across the boundary. The merges are then those of both sides, and which of one side comes
first depends on that side alone: the model takes the lowest rank, then the leftmost. This holds where merges alone make tokens, not with
`ignore_merges`, where a whole word is looked up first. A byte that has no token of its own is left out or is unknown, and then what stands
on both sides of it may meet; so characters that have such a byte are not cut from their neighbours.

u ends and v begins at the character's boundary, so of each only the character next to it is compared (which may find too many): the last
one of u, whole, or the end of one where u begins inside it; the first one of v, whole, or its beginning where v ends inside it.
"""

import re
from collections.abc import Container, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from tokenizers.models import BPE, Model

from kmem.jit import compiled

_THREE_BYTES = range(0x800, 0x10000)
"""Only these are cut apart: of the characters before, words are made that repeat."""
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)


def cuttable(model: Model, vocabulary: Container[str], symbols: dict[int, str], code_points: int) -> NDArray[np.bool_]:
    """[code_points] whether a word may be cut beside a character; symbols: byte → its character in the vocabulary."""
    found = np.zeros(code_points, np.bool_)
    if not isinstance(model, BPE) or model.ignore_merges or model.continuing_subword_prefix or model.end_of_word_suffix:
        return found
    has = np.array([symbols[byte] in vocabulary for byte in range(256)])
    points = np.array(_THREE_BYTES)
    found[points] = has[points >> 12 | 0xE0] & has[points >> 6 & 0x3F | 0x80] & has[points & 0x3F | 0x80]
    return found


def crossing_table(vocabulary: Iterable[str], symbols: dict[int, str]) -> NDArray[np.uint64]:
    """[power of two] an open hash table for `crosses`."""
    bytes_of = {ord(symbol): byte for byte, symbol in symbols.items()}
    # Few tokens hold the end of one such character and the beginning of another: these are worth a closer look.
    ending, beginning = ("".join(symbols[byte] for byte in span) for span in (range(0x80, 0xC0), range(0xE0, 0xF0)))
    inside = re.compile(f"[{re.escape(ending)}][{re.escape(beginning)}]").search
    keys = {key for token in vocabulary if inside(token) for key in _keys(token, bytes_of)}
    table = np.zeros(1 << (2 * len(keys) + 2).bit_length(), np.uint64)
    for key in keys:
        slot = (key * int(_PRIME) & 0xFFFFFFFFFFFFFFFF) >> int(_SHIFT) & len(table) - 1
        while table[slot]:
            slot = (slot + 1) % len(table)
        table[slot] = key
    return table


def _keys(token: str, bytes_of: dict[int, int]) -> Iterator[int]:
    """(u, v) and (u, nothing), as `crosses` asks for them, at every boundary inside the token between characters of three bytes."""
    if not all(ord(symbol) in bytes_of for symbol in token):  # no bytes make it
        return
    data = bytes(bytes_of[ord(symbol)] for symbol in token)
    starts = [place for place in range(len(data)) if not 0x80 <= data[place] < 0xC0]
    for start in starts:
        if not start:
            continue
        left = data[max((other for other in starts if other < start), default=0) : start]
        right = data[start : min((other for other in starts if other > start), default=len(data))]
        if len(left) <= 3 and len(right) <= 3 and left[0] >= 0x80 and right[0] >= 0xE0:
            yield _part(left) << 32
            yield _part(left) << 32 | _part(right)


def _part(data: bytes) -> int:
    """One to three bytes as a number below 2²⁵ that says how many they are."""
    return int.from_bytes(b"\x01" + data, "big")


@compiled
def _slot(key, mask):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    return np.int64(((key * _PRIME) >> _SHIFT) & mask)


@compiled
def _holds(key, table):  # type: ignore[no-untyped-def]
    slot = _slot(key, np.uint64(len(table) - 1))
    while table[slot]:
        if table[slot] == key:
            return True
        slot = (slot + 1) & (len(table) - 1)
    return False


@compiled
def crosses(left, right, table):  # type: ignore[no-untyped-def]
    """Whether a token may lie across the boundary between two characters of three bytes each."""
    ending = np.uint64(left & 0x3F | 0x80)
    before = np.uint64((left >> 6) & 0x3F | 0x80)
    begin = np.uint64(right >> 12 | 0xE0)
    inside = np.uint64((right >> 6) & 0x3F | 0x80)
    last = np.uint64(right & 0x3F | 0x80)
    for length in range(1, 4):
        if length == 1:
            one = np.uint64(1) << np.uint64(8) | ending
        elif length == 2:
            one = np.uint64(1) << np.uint64(16) | before << np.uint64(8) | ending
        else:
            one = np.uint64(1) << np.uint64(24) | np.uint64(left >> 12 | 0xE0) << np.uint64(16) | before << np.uint64(8) | ending
        one <<= np.uint64(32)
        if not _holds(one, table):
            continue
        if (
            _holds(one | np.uint64(1) << np.uint64(8) | begin, table)
            or _holds(one | np.uint64(1) << np.uint64(16) | begin << np.uint64(8) | inside, table)
            or _holds(one | np.uint64(1) << np.uint64(24) | begin << np.uint64(16) | inside << np.uint64(8) | last, table)
        ):
            return True
    return False
