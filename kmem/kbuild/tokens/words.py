"""Counting tokens by words: a byte-level BPE model sees one word at a time, so a text has the tokens of its words.

What lies between two ends of words of a document is a slice with the same words, unless a block ends inside it; only what stands before
and after them is cut into words again.
"""

from array import array
from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend

from kmem.kbuild.tokens.alphabet import Alphabet
from kmem.kbuild.tokens.backend import BackendMeter
from kmem.kbuild.tokens.joints import joints_of
from kmem.kbuild.tokens.known import KnownWords, points_of
from kmem.kbuild.tokens.merging import merges_of, whole_words
from kmem.kbuild.tokens.meter import BLOCK_CHARACTERS, Measured
from kmem.kbuild.tokens.patterns import composed, composes, trims, word_rule

_WORDS_KEPT = 1 << 17
_COUNTS_KEPT = 1 << 16
_HEAD_CHARACTERS = 64


class WordMeter:
    """Exact for a backend of which `word_meter` knows the words; texts that it can't be sure of are left to `other`."""

    def __init__(self, other: BackendMeter, known: KnownWords, alphabet: Alphabet, added: list[str]) -> None:
        self._other, self._alphabet = other, alphabet
        self.known = known
        self._counted: dict[str, int] = {}
        self._added, self._added_starts = added, sorted({content[0] for content in added})

    def count(self, text: str) -> int:
        found = self._counted.get(text)
        if found is None:
            points = self._points(text)
            read = None if points is None else self.known.read(points, len(points) or 1)
            found = self._other.count(text) if read is None else int(read[1][-1])
            if len(text) <= _HEAD_CHARACTERS:
                if len(self._counted) >= _COUNTS_KEPT:
                    self._counted.clear()
                self._counted[text] = found
        return found

    def measure(self, text: str, prefix: str) -> Measured:
        points = self._points(text)
        if points is not None and self._points(prefix) is not None:
            prefix_tokens = self.count(prefix[:-1])  # the last space of a prefix is the beginning of the next word
            if (read := self.known.read(points, BLOCK_CHARACTERS)) is not None:
                return _MeasuredByWords(self, text, prefix, prefix_tokens, *read)
        return self._other.measure(text, prefix)

    def _points(self, text: str) -> NDArray[np.uint32] | None:
        """The code points of a text of which it is sure what the words are."""
        for start in self._added_starts:  # nearly no text has one
            if start in text and any(content in text for content in self._added):
                return None
        points = points_of(text)
        return points if self._alphabet.knows(points, text) else None


class _MeasuredByWords:
    """bounds, tokens [W + 1], ends [N]: what KnownWords.read gave of the text."""

    def __init__(
        self,
        meter: WordMeter,
        text: str,
        prefix: str,
        prefix_tokens: int,
        bounds: NDArray[np.int32],
        tokens: NDArray[np.int32],
        ends: NDArray[np.int32],
    ) -> None:
        self._meter, self._text, self._prefix_tokens = meter, text, prefix_tokens
        self._lead = prefix[-1:]
        # An array of Python's gives a number five times as fast as one of numpy's.
        self._bounds, self._tokens, self._ends = (array("i", part.tobytes()) for part in (bounds, tokens, ends))
        self.total = self._tokens[-1]

    def before(self, start: int) -> int:
        return bisect_right(self._ends, start)

    def end(self, token: int) -> int:
        return self._ends[token]

    def count(self, start: int, end: int) -> int:
        bounds, tokens = self._bounds, self._tokens
        last = bisect_right(bounds, end) - 1
        first, head = self._head(start, end)
        if first > last or bounds[first] // BLOCK_CHARACTERS != (end - 1) // BLOCK_CHARACTERS:
            return self._prefix_tokens + self._meter.count(self._lead + self._text[start:end])
        tail = self._meter.count(self._text[bounds[last] : end]) if bounds[last] < end else 0
        return self._prefix_tokens + head + tokens[last] - tokens[first] + tail

    def _head(self, start: int, end: int) -> tuple[int, int]:
        """The first word of the document that is also one of the slice's, and the tokens before it; past all words where unknown."""
        bounds, text, lead = self._bounds, self._text, self._lead
        word = bisect_right(bounds, start) - 1
        begin = bounds[word]
        if begin == start - len(lead) and (not lead or text[begin] == lead):
            return word, 0
        beginning = lead + text[start : min(end, start + _HEAD_CHARACTERS)]
        end = self._meter.known.first(points_of(beginning))
        if end == len(beginning):  # the unit may go on
            return len(bounds), 0
        after = start + end - len(lead)
        first = word if after == begin else word + 1 if after == bounds[word + 1] else len(bounds)
        return first, self._meter.count(beginning[:end])


def word_meter(backend: Backend, other: BackendMeter) -> WordMeter | None:
    """The meter by words, or None where the backend's steps are not known to leave words apart."""
    rule = word_rule(backend)
    merges = None if rule is None else merges_of(backend)
    added = [token.content for token in backend.get_added_tokens_decoder().values() if token.content]
    if rule is None or merges is None or (composes(backend) and not all(map(composed, added))):
        return None
    if any(": " in content or content.startswith(" ") for content in added):  # could begin in a prefix and end in a slice
        return None
    alphabet = Alphabet(composes=composes(backend), joints=joints_of(backend))
    whole = whole_words(backend)
    known = KnownWords(merges, rule=rule, classes=alphabet.table, trims=trims(backend), whole=whole, kept=_WORDS_KEPT)
    return WordMeter(other, known, alphabet, added)
