"""Units of text → their tokens, where machine code can look them up: an open hash table of code points, each compared, none guessed."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmem.jit import compiled

LONGEST = 256
"""Characters of a unit that is kept; a text with a longer one is counted otherwise."""
_KEPT = 1 << 18
_MEAN_CHARACTERS = 12
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_UNKNOWN = -1


START, LENGTH, TOKENS, STOPS = range(4)
"""Columns of `rows`: entry e is keys[start : start + length] and has so many tokens, which end at ends[stops : stops + tokens]."""


class Table(NamedTuple):
    """slots [power of two] int32: entry + 1, 0 for none. rows [entries, 4], `stops` −1 where unknown. used [3]: entries, keys, ends.

    Machine code takes its arrays out before a loop: numba counts references each time it takes one.
    """

    slots: NDArray[np.int32]
    rows: NDArray[np.int32]
    keys: NDArray[np.uint32]
    ends: NDArray[np.int32]
    used: NDArray[np.int64]


class Units:
    """Learns what machine code asks for. `tokens` counts those of a unit, `ends` tells where they end, in characters."""

    def __init__(self, tokens: Callable[[str], int], ends: Callable[[str], list[int]], kept: int = _KEPT) -> None:
        self._tokens, self._ends, self._kept = tokens, ends, kept
        room = max(2 * LONGEST, kept * _MEAN_CHARACTERS)
        self.table = Table(
            slots=np.zeros(1 << (2 * kept).bit_length(), np.int32),
            rows=np.empty((kept, 4), np.int32),
            keys=np.empty(room, np.uint32),
            ends=np.empty(4 * room, np.int32),
            used=np.zeros(3, np.int64),
        )

    def learn(self, points: NDArray[np.uint32], lengths: NDArray[np.int32]) -> None:
        """Units one after another in `points`, each of at most LONGEST characters; of many the first, so that they all have room."""
        lengths = lengths[: self._kept // 2]
        text, at, counts, seen = points.tobytes().decode("utf-32-le"), 0, list[int](), dict[str, int]()
        for length in lengths.tolist():
            unit = text[at : at + length]
            if unit not in seen:
                seen[unit] = self._tokens(unit)
            counts.append(seen[unit])
            at += length
        _learn(points, lengths, np.array(counts, np.int32), self.table)

    def learn_ends(self, points: NDArray[np.uint32]) -> None:
        """Where the tokens of one unit end."""
        ends = np.array(self._ends(points.tobytes().decode("utf-32-le")), np.int32)
        _learn_ends(points, ends, self.table)


@compiled
def find(points, at, end, slots, rows, keys):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    """The entry of the unit from `at` to `end`, or −1."""
    length = end - at
    mask = len(slots) - 1
    slot = _hash(points, at, end) & mask
    while slots[slot]:
        entry = slots[slot] - 1
        if rows[entry, LENGTH] == length:
            key = rows[entry, START]
            place = 0
            while place < length and keys[key + place] == points[at + place]:
                place += 1
            if place == length:
                return entry
        slot = (slot + 1) & mask
    return _UNKNOWN


@compiled
def _hash(points, at, end):  # type: ignore[no-untyped-def]
    value = np.uint64(end - at)
    for place in range(at, end):
        value = (value ^ np.uint64(points[place])) * _PRIME
        value ^= value >> _SHIFT
    return np.int64(value >> np.uint64(1))


@compiled
def _enter(points, at, end, tokens, table):  # type: ignore[no-untyped-def]
    """The entry of the unit, made where it is not there. A table without room forgets all."""
    slots, rows, keys, used = table.slots, table.rows, table.keys, table.used
    entry = find(points, at, end, slots, rows, keys)
    if entry >= 0:
        return entry
    if used[0] == len(rows) or used[1] + end - at > len(keys):
        used[:] = 0
        slots[:] = 0
    entry, key = used[0], used[1]
    used[0] += 1
    used[1] += end - at
    rows[entry, START], rows[entry, LENGTH], rows[entry, TOKENS], rows[entry, STOPS] = key, end - at, tokens, _UNKNOWN
    for place in range(end - at):
        keys[key + place] = points[at + place]
    mask = len(slots) - 1
    slot = _hash(points, at, end) & mask
    while slots[slot]:
        slot = (slot + 1) & mask
    slots[slot] = entry + 1
    return entry


@compiled
def _learn(points, lengths, counts, table):  # type: ignore[no-untyped-def]
    at = 0
    for index in range(len(lengths)):
        _enter(points, at, at + lengths[index], counts[index], table)
        at += lengths[index]


@compiled
def _learn_ends(points, ends, table):  # type: ignore[no-untyped-def]
    entry = _enter(points, 0, len(points), len(ends), table)
    if table.used[2] + len(ends) > len(table.ends):  # forget where tokens end, and no more
        table.used[2] = 0
        table.rows[: table.used[0], STOPS] = _UNKNOWN
    table.rows[entry, STOPS] = table.used[2]
    table.ends[table.used[2] : table.used[2] + len(ends)] = ends
    table.used[2] += len(ends)
