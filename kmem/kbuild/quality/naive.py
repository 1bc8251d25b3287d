"""What `scan.py` counts, written plainly: the reference that it is tested against."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import takewhile

from kmem.kbuild.quality import alphabet, scan
from kmem.kbuild.quality.alphabet import kind_of, lower_of

_SINGLE = (alphabet.MARK, alphabet.HAN)
_WRAP = (1 << 64) - 1


def buckets(text: str, size: int) -> Counter[int]:
    """How often each of `size` buckets, a power of two, is hit by the words, pairs and triples of the text."""
    found: Counter[int] = Counter()
    before, outline1, outline2 = 0, 0, 0
    for word, outline in tokens(text):
        found[_bucket(size, scan.WORD, word)] += 1
        found[_bucket(size, scan.PAIR, before, word)] += 1
        found[_bucket(size, scan.TRIPLE, outline2, outline1, outline)] += 1
        before, outline2, outline1 = word, outline1, outline
    return found


def tokens(text: str) -> Iterator[tuple[int, int]]:
    """(word, outline) of every token, as numbers."""
    at = 0
    while at < len(text):
        kind = kind_of(text[at])
        run = text[at] if kind in _SINGLE else "".join(takewhile(partial(_goes_on, kind), text[at:]))
        at += len(run)
        if kind != alphabet.SPACE:
            yield _token(kind, run)


def _goes_on(kind: int, character: str) -> bool:
    return kind_of(character) == kind or (kind == alphabet.NEWLINE and kind_of(character) == alphabet.SPACE)


def _token(kind: int, run: str) -> tuple[int, int]:
    if kind == alphabet.NEWLINE:
        ends = scan.LINE if run.count("\n") == 1 else scan.PARAGRAPH
        return ends, ends
    if kind == alphabet.DIGIT:
        return scan.DIGITS, scan.DIGITS
    if kind != alphabet.LETTER:
        return ord(run), scan.HAN_WORD if kind == alphabet.HAN else ord(run)
    lower = "".join(map(lower_of, run))
    return _hash(*map(ord, lower)), _outline(run, lower)


def _outline(word: str, lower: str) -> int:
    capitals = sum(a != b for a, b in zip(word, lower, strict=True))
    if capitals == len(word) > 1:
        return scan.CAPITALS
    if word[0] != lower[0]:
        return scan.TITLE_WORD
    return scan.SHORT_WORD if len(word) <= scan.SHORT else scan.MIDDLE_WORD if len(word) < scan.LONG else scan.LONG_WORD


def _hash(*values: int) -> int:
    state = scan.START
    for value in values:
        state = (state ^ value) * scan.PRIME & _WRAP
    return state


def _bucket(size: int, *values: int) -> int:
    state = _hash(*values)
    return (state ^ state >> 32) % size
