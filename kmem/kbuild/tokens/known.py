"""A document's units and where their tokens end, in one pass of machine code that remembers those it has met, each compared."""

import numpy as np
from numpy.typing import NDArray

from kmem.jit import compiled
from kmem.kbuild.tokens.merging import LONGEST, Merges, split
from kmem.kbuild.tokens.patterns import Trims
from kmem.kbuild.tokens.scan import unit_end

_KEPT_CHARACTERS = 64
"""A longer word is split each time."""
_MEAN_ROOM = 32
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_FULL, _OTHER = -1, -2
_BLANK = 32


class KnownWords:
    """An open hash table of places in one arena, where each unit's numbers lie side by side: characters, tokens, code points, ends.

    kept: units that there is room for; then all are forgotten but those of `whole`, which are one token each whatever the merges say.
    """

    def __init__(self, merges: Merges, *, rule: int, classes: NDArray[np.uint8], trims: Trims, whole: list[str], kept: int) -> None:
        self._merges, self._rule, self._classes = merges, rule, classes
        self._trimmed, self._prefixed = trims
        self._whole = [points_of(word) for word in whole if len(word) <= _KEPT_CHARACTERS]
        kept += len(self._whole)
        self._slots = np.zeros(1 << (2 * kept - 1).bit_length(), np.int32)  # place + 1, 0 for none
        self._arena = np.empty(_MEAN_ROOM * kept, np.int32)
        self._used = np.zeros(2, np.int64)  # units, numbers
        self._kept = kept
        self._scratch = np.empty(4 * LONGEST, np.int32)
        self._bounds, self._before, self._found = np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int32)
        self._forget()

    def __len__(self) -> int:
        return int(self._used[0])

    def read(self, points: NDArray[np.uint32], block: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]] | None:
        """(bounds [U + 1], tokens [U + 1], ends [N]) of a text whose characters are all known to the classes.

        Unit i is points[bounds[i] : bounds[i + 1]], tokens[i] is how many tokens there are before it, ends is where each of the N ends, in
        characters. Each block of so many characters is read alone. The arrays are valid until the next call. None: a unit is longer than
        LONGEST, or has a byte that has no token.
        """
        if len(self._bounds) <= len(points):
            room = 2 * len(points) + 64
            self._bounds, self._before, self._found = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(4 * room, np.int32)
        words = self._read(points, block)
        if words == _FULL:
            self._forget()
            words = self._read(points, block)
        if words < 0:  # or there are more words than there is room for
            return None
        return self._bounds[: words + 1], self._before[: words + 1], self._found[: self._before[words]]

    def first(self, points: NDArray[np.uint32]) -> int:
        """Where a text's first unit ends."""
        return int(unit_end(points, 0, len(points), self._rule, self._classes))

    def _read(self, points: NDArray[np.uint32], block: int) -> int:
        return int(
            _read(
                points,
                block,
                self._rule,
                self._classes,
                self._merges.symbols,
                self._merges.table,
                self._trimmed,
                self._prefixed,
                self._slots,
                self._arena,
                self._used,
                self._kept,
                self._scratch,
                self._bounds,
                self._before,
                self._found,
            )
        )

    def _forget(self) -> None:
        self._slots[:] = 0
        self._used[:] = 0
        for points in self._whole:
            self._scratch[0] = len(points)
            _enter(points, 0, len(points), 1, self._slots, self._arena, self._used, self._kept, self._scratch)


def points_of(text: str) -> NDArray[np.uint32]:
    """The code points of a text [n]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@compiled
def _hash(points, at, end):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    value = np.uint64(end - at)
    for place in range(at, end):
        value = (value ^ np.uint64(points[place])) * _PRIME
        value ^= value >> _SHIFT
    return np.int64(value >> np.uint64(1))


@compiled
def _find(points, at, end, slots, arena):  # type: ignore[no-untyped-def]
    """The place of the unit from `at` to `end`, or −1 − the slot where it belongs."""
    length, mask = end - at, len(slots) - 1
    slot = _hash(points, at, end) & mask
    while slots[slot]:
        place = np.int64(slots[slot] - 1)
        if arena[place] == length:
            same = 0
            while same < length and arena[place + 2 + same] == points[at + same]:
                same += 1
            if same == length:
                return place
        slot = (slot + 1) & mask
    return -1 - slot


@compiled
def _enter(points, at, end, tokens, slots, arena, used, kept, ends):  # type: ignore[no-untyped-def]
    """The place of a unit, made where there is none, with the first of `ends`; −1 where there is no room."""
    length, place = end - at, np.int64(used[1])
    if used[0] == kept or place + 2 + length + tokens > len(arena):
        return np.int64(-1)
    found = _find(points, at, end, slots, arena)
    if found >= 0:
        return found
    arena[place], arena[place + 1] = length, tokens
    for index in range(length):
        arena[place + 2 + index] = points[at + index]
    for index in range(tokens):
        arena[place + 2 + length + index] = ends[index]
    slots[-1 - found] = place + 1
    used[0] += 1
    used[1] += 2 + length + tokens
    return place


@compiled
def _blank(points, at, end):  # type: ignore[no-untyped-def]
    while at < end and points[at] == _BLANK:
        at += 1
    return at == end


@compiled
def _read(  # type: ignore[no-untyped-def]
    points,
    block,
    rule,
    classes,
    symbols,
    table,
    trimmed,
    prefixed,
    slots,
    arena,
    used,
    kept,
    scratch,
    bounds,
    before,
    found,
):
    """`KnownWords.read`: the words, or _FULL, or _OTHER."""
    count, total, at = 0, 0, 0
    bounds[0], before[0] = 0, 0
    while at < len(points):
        stop = min(len(points), at - at % block + block)
        end = unit_end(points, at, stop, rule, classes)
        if end - at > LONGEST:
            return _OTHER
        if end - at <= _KEPT_CHARACTERS:
            place = _find(points, at, end, slots, arena)
            if place < 0:
                tokens = split(points, at, end, symbols, table, trimmed, scratch)
                place = np.int64(-1) if tokens < 0 else _enter(points, at, end, tokens, slots, arena, used, kept, scratch)
                if place < 0:
                    return _OTHER if tokens < 0 else _FULL
            first, tokens = place + 2 + end - at, arena[place + 1]
            for token in range(tokens):
                found[total + token] = at + arena[first + token]
        else:
            tokens = split(points, at, end, symbols, table, trimmed, scratch)
            if tokens < 0:
                return _OTHER
            for token in range(tokens):
                found[total + token] = at + scratch[token]
        if prefixed and at % block == 0 and _blank(points, at, found[total]):
            found[total] = at
        total += tokens
        count += 1
        at = end
        bounds[count], before[count] = at, total
    return count
