"""Texts → the numbers that a scorer weighs: hashed n-grams or an embedding, and beside either a few that describe the form."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from kmem.errors import ConfigError
from kmem.kbuild.quality import scan as of
from kmem.kbuild.quality.alphabet import kinds, lowers, terminals
from kmem.kbuild.quality.windows import windows

NGRAM, EMBEDDING = "ngram", "embedding"
KINDS = (NGRAM, EMBEDDING)
FORM = ("letters", "digits", "marks", "chinese", "spaces", "capitals", "word length", "distinct words", "short lines", "ended lines")
"""Each between 0 and 1, the last columns of every matrix."""
_WORD_LENGTH = 10
_BITS = range(8, 23)


class TextEmbedder(Protocol):
    """What the embedding kind needs; every retriever with vectors has it (`kmem.kstore.index.embed.Embedder`)."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...

    def identity(self) -> dict[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig:
    """`windows` of `window_characters` judge a text, whose features are their mean. 2 ** `bits` buckets hold n-grams (kind `ngram`)."""

    kind: str = NGRAM
    bits: int = 17
    windows: int = 8
    window_characters: int = 2000

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"kind is {self.kind!r}; choose one of {', '.join(KINDS)}.")
        if self.bits not in _BITS:
            raise ConfigError(f"bits is {self.bits}; give {_BITS[0]} to {_BITS[-1]}.")
        if self.windows < 1 or self.window_characters < 1:
            raise ConfigError(f"windows ({self.windows}) and window_characters ({self.window_characters}) must be at least 1.")


EMBEDDED = FeaturesConfig(kind=EMBEDDING, windows=4, window_characters=1000)
"""256 tokens, which is what MiniLM reads, are about a thousand characters."""

Matrix: TypeAlias = Any
"""float32 [N, F]: a numpy array or scipy's `csr_array`, which ships no types."""


class Features:
    """`matrix(texts)`: [N, F], F columns of the kind and then those of FORM; of a text alone, whatever stands beside it."""

    def __init__(self, config: FeaturesConfig, embedder: TextEmbedder | None = None) -> None:
        self.config = config
        self.embedder = embedder

    def matrix(self, texts: Sequence[str]) -> Matrix:
        """A row a text: dense with an embedding, sparse with n-grams. Raises ConfigError where the kind's embedder was not given."""
        parts = [windows(text, characters=self.config.window_characters, most=self.config.windows) for text in texts]
        return _KINDS[self.config.kind](self, parts)

    def _ngrams(self, parts: Sequence[Sequence[str]]) -> csr_array:
        counts, totals = np.zeros(1 << self.config.bits, dtype=np.int32), np.zeros(of.TOTALS, dtype=np.int64)
        columns: list[NDArray[np.int64]] = []
        values: list[NDArray[np.float32]] = []
        ends = [0]
        form = np.arange(len(FORM), dtype=np.int64) + len(counts)
        for windows_ in parts:
            for window in windows_:
                touched = _scan(window, counts, totals)
                hits = counts[touched].astype(np.float32)
                counts[touched] = 0
                columns += [touched, form]
                values += [
                    np.sqrt(hits / max(np.float32(1), hits.sum())) / np.float32(len(windows_)),
                    _form(totals) / np.float32(len(windows_)),
                ]
            ends.append(ends[-1] + sum(len(some) for some in columns[2 * -len(windows_) :]))
        shape = len(parts), len(counts) + len(FORM)
        matrix = csr_array((np.concatenate(values), np.concatenate(columns), np.array(ends)), shape=shape, dtype=np.float32)
        matrix.sum_duplicates()
        return matrix

    def _embedded(self, parts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        if self.embedder is None:
            raise ConfigError(f"A scorer of kind {EMBEDDING!r} needs the embedder it was trained with: pass it as `embedder`.")
        counts, totals = np.zeros(1 << self.config.bits, dtype=np.int32), np.zeros(of.TOTALS, dtype=np.int64)
        vectors = self.embedder.embed([window for windows_ in parts for window in windows_])
        rows, at = np.empty((len(parts), vectors.shape[1] + len(FORM)), dtype=np.float32), 0
        for row, windows_ in zip(rows, parts, strict=True):
            form = np.zeros(len(FORM), dtype=np.float32)
            for window in windows_:
                counts[_scan(window, counts, totals)] = 0
                form += _form(totals) / len(windows_)
            row[:] = np.concatenate([vectors[at : at + len(windows_)].mean(axis=0), form])
            at += len(windows_)
        return rows


_KINDS: Mapping[str, Callable[[Features, Sequence[Sequence[str]]], Matrix]] = {NGRAM: Features._ngrams, EMBEDDING: Features._embedded}


def _scan(text: str, counts: NDArray[np.int32], totals: NDArray[np.int64]) -> NDArray[np.int64]:
    """The buckets that the text hits; `counts` and `totals` hold how often."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    touched = np.empty(3 * len(codes), dtype=np.int64)
    totals[:] = 0
    return touched[: of.scan(codes, kinds(), lowers(), terminals(), counts, touched, totals)]


def _form(totals: NDArray[np.int64]) -> NDArray[np.float32]:
    characters, letters, words, lines = (max(1, int(totals[i])) for i in (of.CHARACTERS, of.LETTERS, of.WORDS, of.LINES))
    tokens = max(1, int(totals[[of.WORDS, of.MARKS, of.HANS]].sum()))
    return np.array(
        [
            totals[of.LETTERS] / characters,
            totals[of.NUMERALS] / characters,
            totals[of.MARKS] / characters,
            totals[of.HANS] / characters,
            totals[of.SPACES] / characters,
            totals[of.CAPITAL] / letters,
            min(1.0, totals[of.LETTERS] / words / _WORD_LENGTH),
            min(1.0, totals[of.DISTINCT] / tokens),
            totals[of.SHORT_LINES] / lines,
            totals[of.ENDED_LINES] / lines,
        ],
        dtype=np.float32,
    )
