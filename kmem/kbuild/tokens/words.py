"""Counting tokens by words: a byte-level BPE model sees one word at a time, so a text has the tokens of its words.

Words repeat, so most are counted once. What lies between two ends of words of a document is a slice with the same words, unless a block
ends inside it; only what stands before and after them is cut into words again.
"""

import re
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate

from tokenizers import Tokenizer as Backend

from kmem.kbuild.tokens.backend import BackendMeter
from kmem.kbuild.tokens.meter import BLOCK_CHARACTERS, Measured
from kmem.kbuild.tokens.parts import Parts, parts_of
from kmem.kbuild.tokens.patterns import Classes, composed, composes, word_pattern

_WORDS_KEPT = 1 << 18
_LONGEST_KEPT = 64
_HEAD_CHARACTERS = 64
_LARGE_CHARACTERS = 1 << 20


class _UnknownError(Exception):
    """A text holds a character of which it isn't known that its words are what the pattern says."""


class _Counts(dict[str, int]):
    """Word → its tokens, asked of the model when first met."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._tokenize = backend.model.tokenize
        self._composes = composes(backend)
        self._classes = Classes()
        self._symbols = byte_symbols()

    def __missing__(self, word: str) -> int:
        parts = self.parts(word)
        if len(parts) > 1:
            count = sum(map(self.__getitem__, parts))
        elif not self._classes.agree(word) or (self._composes and not composed(word)):
            raise _UnknownError(word)
        else:
            count = len(self._tokenize(self._spelled(word)))
        if len(word) <= _LONGEST_KEPT:
            if len(self) >= _WORDS_KEPT:
                self.clear()
            self[word] = count
        return count

    def parts(self, word: str) -> Sequence[str]:
        """What a word consists of that has its tokens by itself."""
        return (word,) if word.isascii() or self._parts is None else self._parts.of(word)

    @cached_property
    def _parts(self) -> Parts | None:
        return parts_of(self._backend, self._symbols)

    def _spelled(self, word: str) -> str:
        if word.isascii() and word.isprintable():  # a space is the only such character that isn't its own symbol
            return word.replace(" ", self._symbols[ord(" ")])
        return word.encode().decode("latin-1").translate(self._symbols)


class WordMeter:
    """Exact for a backend of which `word_meter` knows the words; texts that it can't be sure of are left to `other`."""

    def __init__(self, backend: Backend, pattern: re.Pattern[str], other: BackendMeter) -> None:
        self._other = other
        self.pattern = pattern
        self.counts = _Counts(backend)
        self._ends: dict[str, list[int]] = {}
        self._added = [token.content for token in backend.get_added_tokens_decoder().values() if token.content]
        self._added_starts = sorted({content[0] for content in self._added})

    def count(self, text: str) -> int:
        try:
            return self._other.count(text) if self._has_added(text) else self.sum(text)
        except _UnknownError:
            return self._other.count(text)

    def measure(self, text: str, prefix: str) -> Measured:
        if self._has_added(text) or self._has_added(prefix):
            return self._other.measure(text, prefix)
        try:
            return _MeasuredByWords(self, text, prefix)
        except _UnknownError:
            return self._other.measure(text, prefix)

    def sum(self, text: str) -> int:
        """The tokens of a text that holds no added token, word by word."""
        return sum(map(self.counts.__getitem__, self.pattern.findall(text)))

    def ends(self, word: str) -> list[int]:
        """Where the tokens of one word end, in characters."""
        if self.counts[word] == 1 and not word[-1].isspace():
            return [len(word)]
        found = self._ends.get(word)
        if found is None:
            found = self._located(word)
            if len(word) <= _LONGEST_KEPT:
                if len(self._ends) >= _WORDS_KEPT:
                    self._ends.clear()
                self._ends[word] = found
        return found

    def _located(self, word: str) -> list[int]:
        parts = self.counts.parts(word)
        if len(parts) == 1:
            return list(accumulate(self._other.ends(word), max))
        found, start = list[int](), 0
        for part in parts:
            if len(part) == 1:
                found += [start + 1] * self.counts[part]
            else:
                found += [start + end for end in self.ends(part)]
            start += len(part)
        return found

    def _has_added(self, text: str) -> bool:
        return any(start in text for start in self._added_starts) and any(content in text for content in self._added)


class _MeasuredByWords:
    def __init__(self, meter: WordMeter, text: str, prefix: str) -> None:
        self._meter, self._text = meter, text
        self._lead = prefix[-1:]  # the last space of a prefix is the beginning of the next word
        self._prefix_tokens = meter.sum(prefix[:-1])
        # Word i is text[bounds[i]:bounds[i + 1]]; tokens[i] is how many there are before it.
        large = len(text) > _LARGE_CHARACTERS  # a list is faster, an array a fifth of its size
        self._bounds: list[int] | array[int] = array("q", [0]) if large else [0]
        self._tokens: list[int] | array[int] = array("q", [0]) if large else [0]
        for block in range(0, len(text), BLOCK_CHARACTERS):
            words = meter.pattern.findall(text[block : block + BLOCK_CHARACTERS])
            self._tokens.extend(accumulate(map(meter.counts.__getitem__, words), initial=self._tokens.pop()))
            self._bounds.extend(accumulate(map(len, words), initial=self._bounds.pop()))
        self.total = self._tokens[-1]

    def before(self, start: int) -> int:
        word = bisect_right(self._bounds, start) - 1
        inside = start - self._bounds[word]
        return self._tokens[word] + (bisect_right(self._ends(word), inside) if inside else 0)

    def end(self, token: int) -> int:
        word = bisect_right(self._tokens, token) - 1
        return self._bounds[word] + self._ends(word)[token - self._tokens[word]]

    def count(self, start: int, end: int) -> int:
        bounds, tokens = self._bounds, self._tokens
        last = bisect_right(bounds, end) - 1
        first, head = self._head(start, end)
        if first > last or bounds[first] // BLOCK_CHARACTERS != (end - 1) // BLOCK_CHARACTERS:
            return self._prefix_tokens + self._meter.sum(self._lead + self._text[start:end])
        tail = self._meter.sum(self._text[bounds[last] : end]) if bounds[last] < end else 0
        return self._prefix_tokens + head + tokens[last] - tokens[first] + tail

    def _head(self, start: int, end: int) -> tuple[int, int]:
        """The first word of the document that is also one of the slice's, and the tokens before it; past all words where unknown."""
        bounds, text, lead = self._bounds, self._text, self._lead
        word = bisect_right(bounds, start) - 1
        begin = bounds[word]
        if begin == start - len(lead) and (not lead or text[begin] == lead):
            return word, 0
        beginning = lead + text[start : min(end, start + _HEAD_CHARACTERS)]
        match = self._meter.pattern.match(beginning)
        if match is None or match.end() == len(beginning):  # the word may go on
            return len(bounds), 0
        after = start + match.end() - len(lead)
        first = word if after == begin else word + 1 if after == bounds[word + 1] else len(bounds)
        return first, self._meter.counts[match.group()]

    def _ends(self, word: int) -> list[int]:
        return self._meter.ends(self._text[self._bounds[word] : self._bounds[word + 1]])


def word_meter(backend: Backend, other: BackendMeter) -> WordMeter | None:
    """The meter by words, or None where the backend's steps are not known to leave words apart."""
    pattern = word_pattern(backend)
    added = [token.content for token in backend.get_added_tokens_decoder().values()]
    if pattern is None or (composes(backend) and not all(map(composed, added))):
        return None
    if any(": " in content or content.startswith(" ") for content in added):  # could begin in a prefix and end in a slice
        return None
    return WordMeter(backend, pattern, other)


def byte_symbols() -> dict[int, str]:
    """Byte → the character that stands for it in a byte-level vocabulary: itself where it can be seen, else one from U+0100 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(0x100 + place) for place, byte in enumerate(unseen)}
