"""One pass over a text: hashed n-grams of words and of their outlines, and counts that describe its form. `naive.py` is the same, plainly.

A word is a run of letters in lower case, a Chinese character, a run of digits (all alike), a mark, or a line's end. Counted are words,
pairs of words, and triples of outlines: long, short or capital word, number, Chinese character, line's end, or the mark itself. Outlines
say list, index, log or prose in any subject.
"""

from typing import Any

import numpy as np

from kmem.jit import compiled

PRIME, START = 0x100000001B3, 0xCBF29CE484222325
WORD, PAIR, TRIPLE = 1, 2, 3
DIGITS, LINE, PARAGRAPH = 0x110000, 0x110001, 0x110002
"""Stand for what is no one character: above all code points."""
SHORT_WORD, MIDDLE_WORD, LONG_WORD, TITLE_WORD, CAPITALS, HAN_WORD = range(0x110003, 0x110009)
SHORT, LONG = 3, 8
CHARACTERS, LETTERS, NUMERALS, MARKS, HANS, SPACES, CAPITAL, WORDS, LINES, SHORT_LINES, ENDED_LINES, DISTINCT = range(12)
TOTALS = 12
SHORT_LINE = 40


@compiled
def mix(state: Any, value: Any) -> Any:
    """FNV-1a over one 64-bit value."""
    return (state ^ value) * np.uint64(PRIME)


@compiled
def bucket_of(state: Any, mask: Any) -> Any:
    """The low bits, into which the high ones are folded."""
    return np.int64((state ^ (state >> np.uint64(32))) & mask)


@compiled
def kind_at(codes: Any, i: int, kinds: Any) -> int:
    """The kind of one character, as `alphabet.kind_of` has it."""
    code = codes[i]
    if code < 65536:
        return int(kinds[code])
    return 4 if 0x20000 <= code < 0x40000 else 3


@compiled
def run_end(codes: Any, i: int, kinds: Any) -> int:
    """Where the run of characters of one kind that begins at i ends; a line's end takes the spaces after it along."""
    kind = kind_at(codes, i, kinds)
    i += 1
    if kind == 3 or kind == 4:
        return i
    while i < len(codes):
        here = kind_at(codes, i, kinds)
        if here != kind and not (kind == 5 and here == 0):
            break
        i += 1
    return i


@compiled
def word_at(codes: Any, first: int, end: int, lowers: Any, totals: Any) -> Any:
    """(hash, outline) of a run of letters."""
    word = np.uint64(START)
    capitals = 0
    for i in range(first, end):
        lower = lowers[codes[i]]
        capitals += lower != codes[i]
        word = mix(word, np.uint64(lower))
    length = end - first
    totals[LETTERS] += length
    totals[CAPITAL] += capitals
    totals[WORDS] += 1
    if capitals == length and length > 1:
        outline = CAPITALS
    elif lowers[codes[first]] != codes[first]:
        outline = TITLE_WORD
    elif length <= SHORT:
        outline = SHORT_WORD
    else:
        outline = MIDDLE_WORD if length < LONG else LONG_WORD
    return word, np.uint64(outline)


@compiled
def end_line(codes: Any, start: int, end: int, last: int, terminals: Any, totals: Any) -> None:
    """A line from start to end; `last`: where its last character that is no space stands, or −1."""
    if last >= 0:
        totals[LINES] += 1
        totals[SHORT_LINES] += end - start < SHORT_LINE
        totals[ENDED_LINES] += codes[last] < 65536 and terminals[codes[last]]


@compiled
def count(counts: Any, touched: Any, used: int, bucket: int) -> int:
    """One more in the bucket → how many buckets are used."""
    if counts[bucket] == 0:
        touched[used] = bucket
        used += 1
    counts[bucket] += 1
    return used


@compiled
def scan(codes: Any, kinds: Any, lowers: Any, terminals: Any, counts: Any, touched: Any, totals: Any) -> int:
    """Count the n-grams of `codes` [n] uint32 into `counts` [buckets] int32, zero before, a power of two long.

    touched: [at least 3n] int64, receives the buckets that are no longer zero, in order of first appearance; their number is returned.
    totals: [TOTALS] int64, zero before, receives the counts named above.
    """
    mask, start = np.uint64(len(counts) - 1), np.uint64(START)
    before, outline1, outline2 = np.uint64(0), np.uint64(0), np.uint64(0)
    used, i, line_start, last = 0, 0, 0, -1
    totals[CHARACTERS] = len(codes)
    while i < len(codes):
        kind, first = kind_at(codes, i, kinds), i
        i = run_end(codes, i, kinds)
        if kind == 0:
            totals[SPACES] += i - first
            continue
        if kind == 5:
            end_line(codes, line_start, first, last, terminals, totals)
            totals[SPACES] += i - first
            lines = 0
            for at in range(first, i):
                lines += codes[at] == 10
            line_start, last = i, -1
            word = outline = np.uint64(LINE if lines == 1 else PARAGRAPH)
        elif kind == 1:
            word, outline = word_at(codes, first, i, lowers, totals)
        elif kind == 2:
            totals[NUMERALS] += i - first
            word = outline = np.uint64(DIGITS)
        else:
            totals[HANS if kind == 4 else MARKS] += 1
            word = np.uint64(codes[first])
            outline = np.uint64(HAN_WORD) if kind == 4 else word
        last = last if kind == 5 else i - 1
        single = bucket_of(mix(mix(start, np.uint64(WORD)), word), mask)
        totals[DISTINCT] += counts[single] == 0
        used = count(counts, touched, used, single)
        used = count(counts, touched, used, bucket_of(mix(mix(mix(start, np.uint64(PAIR)), before), word), mask))
        used = count(counts, touched, used, bucket_of(mix(mix(mix(mix(start, np.uint64(TRIPLE)), outline2), outline1), outline), mask))
        before, outline2, outline1 = word, outline1, outline
    end_line(codes, line_start, len(codes), last, terminals, totals)
    return used
