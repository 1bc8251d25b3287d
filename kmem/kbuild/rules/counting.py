"""The passes over a document that all rules share, as machine code: characters, words and lines, repeated phrases.

A text comes as its code points [N]; `classes` and `folded` are `alphabet()`. A unit is a word of a script with spaces, or one
character of a script without.
"""

import numpy as np
from numpy.typing import NDArray

from kmem.jit import compiled
from kmem.kbuild.rules.alphabet import (
    BULLET,
    CLASSES,
    DASH,
    DIGIT,
    DOT,
    ELLIPSIS,
    LETTER,
    NEWLINE,
    QUOTE,
    SPACE,
    SPACELESS,
)
from kmem.kbuild.rules.places import (
    BLOCK,
    BULLETED,
    DISTINCT,
    DOTS,
    ENDED,
    ENTROPY,
    FIGURES,
    LETTERED,
    LINE_CHARACTERS,
    LINES,
    LONGEST_PHRASE,
    PARAGRAPHS,
    SHORT,
    SHORT_LINE,
    STOP_WORDS,
    TOKENS,
    TRAILING,
    TWICE_LINE_CHARACTERS,
    TWICE_LINES,
    TWICE_PARAGRAPH_CHARACTERS,
    TWICE_PARAGRAPHS,
)

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SEED = np.uint64(0xCBF29CE484222325)
_SHIFT = np.uint64(29)


@compiled
def characters(points: NDArray[np.uint32], classes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Counts [CLASSES + 3]: characters of each class; pieces between whitespace, those with a letter; `...` of dots."""
    counts = np.zeros(CLASSES + 3, np.int64)
    inside, lettered, dots = False, False, 0
    for point in points:
        kind = classes[point]
        counts[kind] += 1
        dots = dots + 1 if kind == DOT else 0
        if dots == 3:
            counts[DOTS] += 1
        if SPACE <= kind <= NEWLINE:
            inside, lettered = False, False
            continue
        if not inside:
            inside = True
            counts[TOKENS] += 1
        if not lettered and LETTER <= kind <= SPACELESS:
            lettered = True
            counts[LETTERED] += 1
    return counts


@compiled
def units(
    points: NDArray[np.uint32], classes: NDArray[np.uint8], folded: NDArray[np.uint32]
) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """(hash [U], characters [U]) of every unit, in order, without case."""
    hashes, lengths = np.empty(len(points), np.uint64), np.empty(len(points), np.int32)
    found, length, value = 0, 0, _SEED
    for point in points:
        kind = classes[point]
        if DIGIT <= kind <= LETTER:
            value = (value ^ np.uint64(folded[point])) * _PRIME
            length += 1
            continue
        if length:
            hashes[found], lengths[found] = value ^ (value >> _SHIFT), length
            found, length, value = found + 1, 0, _SEED
        if kind == SPACELESS:
            single = (_SEED ^ np.uint64(point)) * _PRIME
            hashes[found], lengths[found] = single ^ (single >> _SHIFT), 1
            found += 1
    if length:
        hashes[found], lengths[found] = value ^ (value >> _SHIFT), length
        found += 1
    return hashes[:found].copy(), lengths[:found].copy()


@compiled
def _room(entries: int) -> int:
    """Slots of an open hash table for so many entries: a power of two, at most half full."""
    room = 16
    while room < 2 * entries:
        room *= 2
    return room


@compiled
def _twice(keys: NDArray[np.uint64], weights: NDArray[np.int64], table: NDArray[np.int32]) -> tuple[int, int]:
    """How many keys came before, and their weight. `table` is all zero."""
    mask, count, weight = np.uint64(len(table) - 1), 0, 0
    for index in range(len(keys)):
        slot = np.int64(keys[index] & mask)
        while table[slot] and keys[table[slot] - 1] != keys[index]:
            slot = (slot + 1) & np.int64(mask)
        if table[slot]:
            count += 1
            weight += weights[index]
        else:
            table[slot] = index + 1
    return count, weight


@compiled
def _entropy(hashes: NDArray[np.uint64]) -> float:
    """Entropy of the units' frequencies in nats."""
    room = _room(len(hashes))
    keys, counts = np.zeros(room, np.uint64), np.zeros(room, np.int32)
    for value in hashes:
        slot = np.int64(value & np.uint64(room - 1))
        while counts[slot] and keys[slot] != value:
            slot = (slot + 1) & (room - 1)
        keys[slot] = value
        counts[slot] += 1
    total = 0.0
    for count in counts:
        if count > 1:
            total += count * np.log(count)
    return np.log(len(hashes)) - total / len(hashes) if len(hashes) else 0.0


@compiled
def _distinct(hashes: NDArray[np.uint64]) -> float:
    """Share of different units in a block, averaged over whole blocks; a text shorter than a block is one."""
    keys, stamps = np.zeros(4 * BLOCK, np.uint64), np.zeros(4 * BLOCK, np.int32)
    blocks, block, total = max(1, len(hashes) // BLOCK), min(BLOCK, len(hashes)), 0
    for number in range(blocks):
        for index in range(number * block, (number + 1) * block):
            slot = np.int64(hashes[index] % np.uint64(4 * BLOCK))
            while stamps[slot] == number + 1 and keys[slot] != hashes[index]:
                slot = (slot + 1) % (4 * BLOCK)
            if stamps[slot] != number + 1:
                keys[slot], stamps[slot] = hashes[index], number + 1
                total += 1
    return total / (blocks * block) if block else 0.0


@compiled
def _stop_words(hashes: NDArray[np.uint64], stops: NDArray[np.uint64]) -> int:
    """How many different entries of `stops`, a hash table [power of two], occur."""
    mask, found = len(stops) - 1, 0
    seen = np.zeros(len(stops), np.bool_)
    for value in hashes:
        slot = np.int64(value & np.uint64(mask))
        while stops[slot] and stops[slot] != value:
            slot = (slot + 1) & mask
        if stops[slot] and not seen[slot]:
            seen[slot] = True
            found += 1
    return found


@compiled
def _lines(points: NDArray[np.uint32], classes: NDArray[np.uint8], figures: NDArray[np.float64]) -> None:
    """Fill in what lines and paragraphs show. Blank lines count nowhere; whitespace around a line is no part of it."""
    most = 1
    for point in points:
        if classes[point] == NEWLINE:
            most += 1
    lines, line_lengths, found = np.empty(most, np.uint64), np.empty(most, np.int64), 0
    paragraphs, paragraph_lengths, parts = np.empty(most, np.uint64), np.empty(most, np.int64), 0
    open_paragraph, start = False, 0
    while start <= len(points):
        value, pending, first, last, wide, end = _SEED, _SEED, -1, -1, 0, start
        while end < len(points) and classes[points[end]] != NEWLINE:
            kind = classes[points[end]]
            if first >= 0 or kind != SPACE:
                pending = (pending ^ np.uint64(points[end])) * _PRIME
            if kind != SPACE:
                first, last, value = (end if first < 0 else first), end, pending
                if kind == SPACELESS:
                    wide += 1
            end += 1
        if first < 0:
            open_paragraph = False
        else:
            length = last + 1 - first
            value ^= value >> _SHIFT
            lines[found], line_lengths[found] = value, length
            found += 1
            if not open_paragraph:
                open_paragraph = True
                paragraphs[parts], paragraph_lengths[parts] = _SEED, 0
                parts += 1
            paragraphs[parts - 1] = (paragraphs[parts - 1] ^ value) * _PRIME
            paragraph_lengths[parts - 1] += length
            _line(points[first : last + 1], classes, wide, figures)
        start = end + 1
    figures[LINES], figures[PARAGRAPHS] = found, parts
    figures[LINE_CHARACTERS] = line_lengths[:found].sum()
    count, weight = _twice(lines[:found], line_lengths[:found], np.zeros(_room(found), np.int32))
    figures[TWICE_LINES], figures[TWICE_LINE_CHARACTERS] = count, weight
    count, weight = _twice(paragraphs[:parts], paragraph_lengths[:parts], np.zeros(_room(parts), np.int32))
    figures[TWICE_PARAGRAPHS], figures[TWICE_PARAGRAPH_CHARACTERS] = count, weight


@compiled
def _line(line: NDArray[np.uint32], classes: NDArray[np.uint8], wide: int, figures: NDArray[np.float64]) -> None:
    length, first, last = len(line), classes[line[0]], classes[line[-1]]
    if length + wide <= SHORT_LINE:
        figures[SHORT] += 1
    if ELLIPSIS <= last <= QUOTE:
        figures[ENDED] += 1
    if first == BULLET or (first == DASH and length > 1 and classes[line[1]] == SPACE):
        figures[BULLETED] += 1
    if last == ELLIPSIS or (length > 2 and last == DOT and classes[line[-2]] == DOT and classes[line[-3]] == DOT):
        figures[TRAILING] += 1


@compiled
def prose(
    points: NDArray[np.uint32], classes: NDArray[np.uint8], hashes: NDArray[np.uint64], stops: NDArray[np.uint64]
) -> NDArray[np.float64]:
    """Figures [FIGURES] of a text's units and lines."""
    figures = np.zeros(FIGURES, np.float64)
    figures[ENTROPY] = _entropy(hashes)
    figures[DISTINCT] = _distinct(hashes)
    figures[STOP_WORDS] = _stop_words(hashes, stops)
    _lines(points, classes, figures)
    return figures


@compiled
def phrases(hashes: NDArray[np.uint64], lengths: NDArray[np.int32], step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(top [11], repeated [11]) by words of a phrase, 2 to 10; a word is `step` units.

    top: characters of the phrase that takes most in all its places, if it has more than one. repeated: characters, each once, in phrases
    that came before. A longer phrase can stand twice only where the shorter ones in it do, so each length looks at what the one before
    left.
    """
    top, repeated = np.zeros(LONGEST_PHRASE + 1, np.int64), np.zeros(LONGEST_PHRASE + 1, np.int64)
    total = len(hashes)
    ends = np.zeros(total + 1, np.int64)
    for index in range(total):
        ends[index + 1] = ends[index] + lengths[index]
    phrase, counts = hashes.copy(), np.zeros(total, np.int32)
    twice, at = np.ones(total, np.bool_), np.empty(total, np.int64)
    table = np.zeros(_room(total), np.int32)
    size = 1
    for words in range(2, LONGEST_PHRASE + 1):
        longer, candidates = words * step, 0
        for index in range(total - longer + 1):
            if twice[index] and twice[index + step]:
                at[candidates] = index
                candidates += 1
        if candidates < 2:
            break
        room = _room(candidates)
        table[:room] = 0
        twice[:] = False
        until = 0
        for number in range(candidates):
            index = at[number]
            value = phrase[index]
            for unit in range(index + size, index + longer):
                value = value * _PRIME + hashes[unit]
                value ^= value >> _SHIFT
            phrase[index] = value
            slot = np.int64(value & np.uint64(room - 1))
            while table[slot] and phrase[table[slot] - 1] != value:
                slot = (slot + 1) & (room - 1)
            if not table[slot]:
                table[slot] = index + 1
                counts[index] = 1
                continue
            before = table[slot] - 1
            counts[before] += 1
            twice[before], twice[index] = True, True
            top[words] = max(top[words], counts[before] * (ends[index + longer] - ends[index]))
            repeated[words] += ends[index + longer] - ends[max(index, until)]
            until = index + longer
        size = longer
    return top, repeated
