"""What numba compiles for a signature: a text's characters → words → shingles → their MinHash, in one pass without a Python object."""

import numpy as np

from kmem.jit import compiled
from kmem.kbuild.dedup.classes import ALONE, NUMERIC, WORD

_ODD = np.uint64(0x9E3779B97F4A7C15)
_SEED = np.uint64(0x243F6A8885A308D3)
_BASE = np.uint64(0xD1342543DE82EF95)
_MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
_32, _33 = np.uint64(32), np.uint64(33)
_ZERO = np.uint64(0)


@compiled
def _mixed(value):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    """MurmurHash3's finaliser: every bit of the result depends on every bit of the value."""
    value = (value ^ (value >> _33)) * _MIX[0]
    value = (value ^ (value >> _33)) * _MIX[1]
    return value ^ (value >> _33)


@compiled
def _lower(shingle, factors, offsets, least):  # type: ignore[no-untyped-def]
    """One shingle's value under each permutation x → factor · x + offset modulo 2³², where it is less than `least` so far."""
    low = np.uint32(shingle)
    for index in range(len(least)):
        value = np.uint32(np.uint32(low * factors[index]) + offsets[index])
        least[index] = min(least[index], value)


@compiled
def minhash(characters, classes, width, factors, offsets, signatures, sums, row):  # type: ignore[no-untyped-def]
    """The words of a text; its row of `signatures` and `sums` receive the rest.

    characters [n] uint32: its code points, case folded. classes: a class for each code point below their number. factors (odd), offsets
    [permutations] uint32. signatures [rows, permutations] uint32: the least value of a shingle so far. A text of fewer words than `width`
    is one shingle; one without words leaves its signature as it was. sums [rows, 2] uint64: of the hashes of words that are numbers, and
    of those of the others; they know how often a word comes, and nothing of the order.
    """
    least = signatures[row]
    # The value of base^width takes a word back out of the rolling hash of the last `width` words.
    leaving = np.uint64(1)
    for _ in range(width):
        leaving *= _BASE
    last = np.zeros(width, np.uint64)
    words, rolled, numbers, others = 0, _ZERO, _ZERO, _ZERO
    word, kind = _SEED, 0
    for place in range(len(characters) + 1):
        character = np.uint64(0)
        here = 0
        if place < len(characters):
            character = np.uint64(characters[place])
            here = classes[characters[place]] if characters[place] < len(classes) else 0
        # A word ends before whatever does not continue it; a character that is a word alone ends at once.
        if (kind & WORD and not here & WORD) or kind & ALONE:
            hashed = _mixed(word)
            if kind & NUMERIC:
                numbers += hashed
            else:
                others += hashed
            oldest = last[words % width]
            last[words % width] = hashed
            rolled = rolled * _BASE + hashed - oldest * leaving
            words += 1
            if words >= width:
                _lower(_mixed(rolled), factors, offsets, least)
            word, kind = _SEED, 0
        if here:
            word = (word ^ character) * _ODD
            word ^= word >> _32
            kind |= here
    if 0 < words < width:
        _lower(_mixed(rolled), factors, offsets, least)
    sums[row, 0], sums[row, 1] = numbers, others
    return words
