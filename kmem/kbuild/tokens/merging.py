"""A byte-level BPE model as tables, and the tokens it makes of a word, as machine code.

The model of the `tokenizers` library joins, of all neighbours of which it knows a merge, those of the lowest rank, of these the leftmost,
until none is left (Sennrich et al., arXiv 1508.07909). Words are short, so here each step looks at all neighbours anew.
"""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend

from kmem.jit import compiled

LONGEST = 256
"""Characters of a word; longer ones are left to the library, whose time grows with n log n."""
_NONE, _NEVER = np.int64(-1), np.int64(1 << 62)
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(40)
_BLANK = 32


@dataclass(frozen=True, kw_only=True)
class Merges:
    """symbols [256] int32: tokens of the bytes, −1 for one that has none. table [power of two, 3] int64: left << 32 | right, −1 where
    empty; rank; the token made.
    """

    symbols: NDArray[np.int32]
    table: NDArray[np.int64]


def merges_of(backend: Backend) -> Merges | None:
    """Of a BPE model; None where it works in another way."""
    state: dict[str, Any] = json.loads(backend.to_str())["model"]
    if any(state.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix", "dropout", "byte_fallback")):
        return None
    vocabulary: dict[str, int] = state["vocab"]
    symbols = np.array([vocabulary.get(symbol, -1) for _, symbol in sorted(byte_symbols().items())], np.int32)
    pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in state["merges"]]
    left, right = ([vocabulary[pair[side]] for pair in pairs] for side in (0, 1))
    table = np.full((1 << (2 * len(pairs) + 1).bit_length(), 3), _NONE, np.int64)
    _fill(np.array(left, np.int64), np.array(right, np.int64), np.array([vocabulary["".join(pair)] for pair in pairs], np.int64), table)
    return Merges(symbols=symbols, table=table)


def whole_words(backend: Backend) -> list[str]:
    """What the model looks up as a whole before it merges anything: nothing, for most."""
    if not getattr(backend.model, "ignore_merges", False):
        return []
    found = []
    for token in backend.get_vocab(with_added_tokens=False):
        try:
            found.append((bytes_of_token(token) or b"").decode())
        except UnicodeDecodeError:  # part of a character: no word
            continue
    return list(filter(None, found))


def bytes_of_token(token: str) -> bytes | None:
    """What a token of a byte-level vocabulary stands for; None for one with a symbol of no byte, which no text has."""
    try:
        return token.translate(_bytes_of()).encode("latin-1")
    except UnicodeEncodeError:
        return None


@cache
def _bytes_of() -> dict[int, str]:
    return {ord(symbol): chr(byte) for byte, symbol in byte_symbols().items()}


def byte_symbols() -> dict[int, str]:
    """Byte → the character that stands for it in a byte-level vocabulary: itself where it can be seen, else one from U+0100 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(0x100 + place) for place, byte in enumerate(unseen)}


@compiled
def _slot(left, right, mask):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    key = (np.uint64(left) << np.uint64(32) | np.uint64(right)) * _PRIME
    return np.int64((key >> _SHIFT) & np.uint64(mask))


@compiled
def _fill(left, right, made, table):  # type: ignore[no-untyped-def]
    """The first merge of a pair counts; its rank is its place."""
    mask = len(table) - 1
    for rank in range(len(left)):
        key = left[rank] << 32 | right[rank]
        slot = _slot(left[rank], right[rank], mask)
        while table[slot, 0] != _NONE and table[slot, 0] != key:
            slot = (slot + 1) & mask
        table[slot, 0], table[slot, 1], table[slot, 2] = key, rank, made[rank]


@compiled
def _merge(left, right, table):  # type: ignore[no-untyped-def]
    """(rank, token) of what joins two neighbours; _NEVER where nothing does."""
    mask = len(table) - 1
    key = np.int64(left) << 32 | np.int64(right)
    slot = _slot(left, right, mask)
    while table[slot, 0] != _NONE:
        if table[slot, 0] == key:
            return table[slot, 1], table[slot, 2]
        slot = (slot + 1) & mask
    return _NEVER, _NONE


@compiled
def split(points, at, end, symbols, table, trimmed, ends):  # type: ignore[no-untyped-def]
    """How many tokens the word from `at` to `end` has; `ends` [4 · LONGEST] int32 receives where they end, in characters from `at`.

    A token that ends inside a character ends behind it. trimmed: whether spaces that a token ends with, but doesn't begin with, are left
    out of it (the library's `trim_offsets`); an end is never before an earlier one. −1 for a word with a byte that has no token.
    """
    room = 4 * (end - at)
    data, behind = np.empty(room, np.uint8), np.empty(room, np.int64)
    count = _encode(points, at, end, data, behind)
    tokens, last = np.empty(count, np.int64), np.empty(count, np.int64)  # last: the byte behind each token
    for index in range(count):
        tokens[index], last[index] = symbols[data[index]], index + 1
        if tokens[index] < 0:
            return -1
    left = _join(tokens, last, table)
    first, latest = 0, 0
    for index in range(left):
        byte = last[index] - 1
        stop = behind[byte]
        while trimmed and data[first] != _BLANK and data[byte] == _BLANK:
            stop, byte = stop - 1, byte - 1
        latest = max(latest, stop)
        ends[index], first = latest, last[index]
    return left


@compiled
def _encode(points, at, end, data, behind):  # type: ignore[no-untyped-def]
    """How many bytes the characters have in UTF-8: `data`; and behind which character, from `at`, each stands: `behind`."""
    count = 0
    for place in range(at, end):
        point = np.int64(points[place])
        more = 0 if point < 0x80 else 1 if point < 0x800 else 2 if point < 0x10000 else 3
        data[count] = point if more == 0 else (0xFF00 >> (more + 1)) & 0xFF | point >> 6 * more
        for index in range(1, more + 1):
            data[count + index] = 0x80 | point >> 6 * (more - index) & 0x3F
        behind[count : count + more + 1] = place + 1 - at
        count += more + 1
    return count


@compiled
def _join(tokens, last, table):  # type: ignore[no-untyped-def]
    """How many are left of the tokens, each of which ends before the byte `last`, once nothing joins any two."""
    left = len(tokens)
    ranks, made = np.full(left, _NEVER, np.int64), np.empty(left, np.int64)  # of a token and the next one
    for index in range(left - 1):
        ranks[index], made[index] = _merge(tokens[index], tokens[index + 1], table)
    while True:
        best = 0
        for index in range(1, left):
            if ranks[index] < ranks[best]:
                best = index
        if ranks[best] == _NEVER:
            return left
        tokens[best], last[best] = made[best], last[best + 1]
        left -= 1
        for index in range(best + 1, left):
            tokens[index], last[index], ranks[index], made[index] = tokens[index + 1], last[index + 1], ranks[index + 1], made[index + 1]
        ranks[left] = _NEVER
        if best + 1 < left:
            ranks[best], made[best] = _merge(tokens[best], tokens[best + 1], table)
        else:
            ranks[best] = _NEVER
        if best:
            ranks[best - 1], made[best - 1] = _merge(tokens[best - 1], tokens[best], table)
