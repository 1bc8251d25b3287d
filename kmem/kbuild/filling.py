"""Chunker._spans as machine code: a document's units and tokens, and the spans of its chunks, without a Python object.

The text stands in points[1:stop], a space before it. A step goes on until it is done or has to ask for what it doesn't know; what it has
found stays in `state` and in the arrays.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmem.jit import compiled
from kmem.kbuild.ending import ending
from kmem.kbuild.tokens.alphabet import ADDED, BLANK
from kmem.kbuild.tokens.meter import BLOCK_CHARACTERS
from kmem.kbuild.tokens.scan import unit_end
from kmem.kbuild.tokens.units import LONGEST, STOPS, TOKENS, Table, find
from kmem.kbuild.tokens.words import WordMeter

DONE, UNITS, ENDS, REFUSED = range(4)
"""What a step returns: all spans are found; units, or one unit's ends, are to be learned; this text is for the naive way."""
AT, COUNT, START, CHUNKS, ASKED, ASKED_POINTS, ASK_AT, ASK_END = range(8)
"""Places of `state`: how far units are known, how many; where the next chunk begins, how many are found; what is asked for."""
STATES = 8
_ASKED_POINTS, _ASKED_UNITS = 1 << 16, 1 << 12
_BLANK = 32
_UNSURE, _TOO_LONG = -1, -2


class Known(NamedTuple):
    """What units are made by, and what is known of them: scan.py, units.py."""

    rule: int
    classes: NDArray[np.uint8]
    crossing: NDArray[np.uint64]
    table: Table


class Work(NamedTuple):
    """bounds, tokens [n]: of unit i where it begins and how many are before it. spans [n, 3]: start and end in `points`, tokens.

    state [STATES]. asked [points], lengths [units]: units that the table has not.
    """

    bounds: NDArray[np.int32]
    tokens: NDArray[np.int32]
    spans: NDArray[np.int32]
    state: NDArray[np.int64]
    asked: NDArray[np.uint32]
    lengths: NDArray[np.int32]


@compiled
def fill(points, known, prefix_tokens, has_prefix, limit, most, work):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    """One step. most: tokens of a chunk; limit: those that its prefix leaves; prefix_tokens: those without its last space."""
    stop, state = len(points), work.state
    state[ASKED] = state[ASKED_POINTS] = 0
    status = _measure(points, known, work)
    if status != DONE:
        return status
    start = state[START]
    while start < stop and known.classes[points[start]] & BLANK:
        start += 1
    while start < stop:
        state[START] = start
        status = _fit(points, start, known, prefix_tokens, has_prefix, limit, most, work)
        if status != DONE:
            return status
        start = work.spans[state[CHUNKS], 1]
        state[CHUNKS] += 1
        while start < stop and known.classes[points[start]] & BLANK:
            start += 1
    return DONE


@compiled
def _fit(points, start, known, prefix_tokens, has_prefix, limit, most, work):  # type: ignore[no-untyped-def]
    """Chunker._fit: the span of the chunk that begins at `start`."""
    stop, classes = len(points), known.classes
    total = work.tokens[work.state[COUNT]]
    first = _before(points, start, known.table, work)
    if first < 0:
        return ENDS
    room = min(limit, total - first)
    window = stop if first + room >= total else _end(points, first + room - 1, known.table, work)
    while window >= 0:
        end = stop if window == stop else ending(points, start, window, start, stop, classes)
        while end > start and classes[points[end - 1]] & BLANK:
            end -= 1
        count = _count(points, start, end, has_prefix, known, work)
        if count < 0:
            return UNITS if count == _UNSURE else REFUSED
        excess = prefix_tokens + count - most
        if excess <= 0:
            span = work.spans[work.state[CHUNKS]]
            span[0], span[1], span[2] = start, end, prefix_tokens + count
            return DONE
        if end - start == 1:
            return REFUSED
        room -= excess
        window = start + (end - start) // 2
        if room > 0:
            window = _end(points, first + room - 1, known.table, work)
            if window < 0:
                break
            window = min(end - 1, window)
        window = max(window, start + 1)
    return ENDS


@compiled
def _measure(points, known, work):  # type: ignore[no-untyped-def]
    """The units of the text, block by block."""
    stop, bounds, tokens, state = len(points), work.bounds, work.tokens, work.state
    rule, classes, crossing = known.rule, known.classes, known.crossing
    slots, rows, keys = known.table.slots, known.table.rows, known.table.keys
    at, unit, sure = state[AT], state[COUNT], True
    bounds[unit] = at
    while at < stop:
        block = min(stop, at - (at - 1) % BLOCK_CHARACTERS + BLOCK_CHARACTERS)
        while at < block:
            end = unit_end(points, at, block, rule, classes, crossing)
            entry = find(points, at, end, slots, rows, keys)
            if entry >= 0:
                if sure:
                    tokens[unit + 1] = tokens[unit] + rows[entry, TOKENS]
                    unit += 1
                    bounds[unit] = end
            else:
                if sure:
                    sure = False
                    state[AT], state[COUNT] = at, unit
                asking = _ask(points, at, end, work)
                if asking != _UNSURE:
                    return REFUSED if asking == _TOO_LONG else UNITS
            at = end
    if sure:
        state[AT], state[COUNT] = at, unit
    return DONE if sure else UNITS


@compiled
def _ask(points, at, end, work):  # type: ignore[no-untyped-def]
    """Put a unit on the list: `_UNSURE` while it has room for more, `_TOO_LONG` for one that the table can't hold, else DONE."""
    if end - at > LONGEST:
        return _TOO_LONG
    state, asked, lengths = work.state, work.asked, work.lengths
    unit, place = state[ASKED], state[ASKED_POINTS]
    lengths[unit] = end - at
    for offset in range(end - at):
        asked[place + offset] = points[at + offset]
    state[ASKED] += 1
    state[ASKED_POINTS] += end - at
    return _UNSURE if unit + 1 < len(lengths) and place + end - at + LONGEST <= len(asked) else DONE


@compiled
def _count(points, start, end, has_prefix, known, work):  # type: ignore[no-untyped-def]
    """The tokens of a slice alone, or after the space that ends a prefix; `_UNSURE` once units are asked for, or `_TOO_LONG`."""
    rule, classes, crossing = known.rule, known.classes, known.crossing
    slots, rows, keys = known.table.slots, known.table.rows, known.table.keys
    before = points[start - 1]
    at = start
    if has_prefix:
        points[start - 1] = _BLANK
        at = start - 1
    count, sure, too_long = 0, True, False
    while at < end:
        after = unit_end(points, at, end, rule, classes, crossing)
        entry = find(points, at, after, slots, rows, keys)
        if entry >= 0:
            count += rows[entry, TOKENS]
        else:
            sure = False
            asking = _ask(points, at, after, work)
            if asking != _UNSURE:
                too_long = asking == _TOO_LONG
                break
        at = after
    points[start - 1] = before
    return _TOO_LONG if too_long else count if sure else _UNSURE


@compiled
def _last(values, count, value):  # type: ignore[no-untyped-def]
    """The last of the first `count` ascending values that is not above `value`."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if values[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low - 1


@compiled
def _stops(points, unit, table, work):  # type: ignore[no-untyped-def]
    """The entry of a unit whose tokens' ends are known, or −1 once they are asked for."""
    bounds, state = work.bounds, work.state
    entry = find(points, bounds[unit], bounds[unit + 1], table.slots, table.rows, table.keys)
    if entry >= 0 and table.rows[entry, STOPS] >= 0:
        return entry
    state[ASK_AT], state[ASK_END] = bounds[unit], bounds[unit + 1]
    return -1


@compiled
def _before(points, start, table, work):  # type: ignore[no-untyped-def]
    """How many tokens of the text end at or before `start`, or −1 once ends are asked for."""
    bounds, tokens = work.bounds, work.tokens
    unit = _last(bounds, work.state[COUNT] + 1, start)
    inside = start - bounds[unit]
    if inside == 0:
        return tokens[unit]
    entry = _stops(points, unit, table, work)
    if entry < 0:
        return -1
    ended, stops, ends, count = 0, table.rows[entry, STOPS], table.ends, table.rows[entry, TOKENS]
    while ended < count and ends[stops + ended] <= inside:
        ended += 1
    return tokens[unit] + ended


@compiled
def _end(points, token, table, work):  # type: ignore[no-untyped-def]
    """Where this token of the text ends, or −1 once ends are asked for."""
    bounds, tokens = work.bounds, work.tokens
    unit = _last(tokens, work.state[COUNT] + 1, token)
    entry = _stops(points, unit, table, work)
    return -1 if entry < 0 else bounds[unit] + table.ends[table.rows[entry, STOPS] + token - tokens[unit]]


class WordFiller:
    """The spans of a text's chunks, for a meter that knows words."""

    def __init__(self, meter: WordMeter, most: int) -> None:
        self._meter, self._most = meter, most
        self._known = Known(meter.rule, meter.characters.table, meter.crossing, meter.units.table)
        self._asked, self._lengths = np.empty(_ASKED_POINTS, np.uint32), np.empty(_ASKED_UNITS, np.int32)

    def spans(self, text: str, prefix: str) -> list[tuple[int, int, int]] | None:
        """(start, end, tokens of prefix and slice) of every chunk; None for a text that it leaves to the chunker."""
        meter = self._meter
        of_prefix = self._prefix(prefix)
        if of_prefix is None:
            return None
        points = np.frombuffer(bytearray(f" {text}".encode("utf-32-le")), np.uint32)
        bits = meter.characters.bits(points, f" {text}")
        if bits < 0 or (bits & ADDED and meter.has_added(text)):
            return None
        work = self._work(len(points))
        while (status := fill(points, self._known, *of_prefix, self._most, work)) != DONE:
            if status == REFUSED:
                return None
            if status == UNITS:
                meter.units.learn(self._asked[: work.state[ASKED_POINTS]], self._lengths[: work.state[ASKED]])
            else:
                meter.units.learn_ends(points[work.state[ASK_AT] : work.state[ASK_END]])
        return [(start - 1, end - 1, tokens) for start, end, tokens in work.spans[: work.state[CHUNKS]].tolist()]

    def _work(self, size: int) -> Work:
        state = np.zeros(STATES, np.int64)
        state[AT] = state[START] = 1
        bounds, tokens, spans = np.empty(size, np.int32), np.empty(size, np.int32), np.empty((size, 3), np.int32)
        tokens[0] = 0
        return Work(bounds, tokens, spans, state, self._asked, self._lengths)

    def _prefix(self, prefix: str) -> tuple[int, bool, int] | None:
        """Its tokens without the last space, which is the beginning of the next word; whether there is one; the tokens it leaves."""
        meter = self._meter
        if meter.has_added(prefix) or not meter.characters.sure(np.frombuffer(bytearray(prefix.encode("utf-32-le")), np.uint32), prefix):
            return None
        return meter.count(prefix[:-1]), bool(prefix), max(1, self._most - meter.count(prefix))
