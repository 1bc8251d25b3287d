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

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

from kmem.jit import compiled

_THREE_BYTES = range(0x800, 0x10000)
"""Only these are cut apart: of the characters before, words are made that repeat."""
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)


def cuttable(backend: Backend, symbols: dict[int, str], code_points: int) -> NDArray[np.bool_]:
    """[code_points] whether a word may be cut beside a character; symbols: byte → its character in the vocabulary."""
    model = backend.model
    found = np.zeros(code_points, np.bool_)
    if not isinstance(model, BPE) or model.ignore_merges or model.continuing_subword_prefix or model.end_of_word_suffix:
        return found
    vocabulary = backend.get_vocab(with_added_tokens=False)
    has = np.array([symbols[byte] in vocabulary for byte in range(256)])
    points = np.array(_THREE_BYTES)
    found[points] = has[points >> 12 | 0xE0] & has[points >> 6 & 0x3F | 0x80] & has[points & 0x3F | 0x80]
    return found


def crossing_table(backend: Backend, symbols: dict[int, str]) -> NDArray[np.uint64]:
    """[power of two] an open hash table for `crosses`."""
    vocabulary = backend.get_vocab(with_added_tokens=False)
    bytes_of = {ord(symbol): byte for byte, symbol in symbols.items()}
    keys = {key for token in vocabulary if not token.isascii() for key in _keys(token, bytes_of)}
    table = np.zeros(1 << (2 * len(keys) + 2).bit_length(), np.uint64)
    for key in keys:
        slot = _slot(np.uint64(key), np.uint64(len(table) - 1))
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
