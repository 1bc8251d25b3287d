"""The index of words: every term's BM25 score in every text that has it, computed beforehand (BM25S), as plain arrays in one file.

bm25s computes the scores; it is imported when an index is built, not to search one.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from kmem.errors import ConfigError, CorruptBankError
from kmem.kstore.index.tokens import TOKENS, terms
from kmem.kstore.place import Place
from kmem.kstore.stored import StoredFile, read_verified

K1, B = 1.5, 0.75
SCORING = f"lucene, k1 {K1}, b {B}, {TOKENS}"
"""How words are counted, for the record of an index."""

GROUPS = 4
"""Times as many as are asked for, in which the best are looked for: with four, a seventh too many are ranked."""

_TYPES: dict[str, Any] = {"ids": np.int64, "starts": np.int64, "rows": np.int32, "scores": np.float32, "terms": np.uint8}
_REPAIR = "make it again with kmem verify --repair-index."


@dataclass(frozen=True, kw_only=True)
class LexicalIndex:
    """N texts and V terms. Of term v, `rows[starts[v]:starts[v + 1]]` are the texts that have it, ascending, beside them its `scores`.

    ids: [N] of the texts. starts: [V + 1]. terms: in UTF-8, in the order of `starts`, each ended by a newline, which no term has.
    """

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    terms: NDArray[np.uint8]

    def search(self, texts: Sequence[str], k: int, exclude: Sequence[int] = ()) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """BM25 scores and ids [Q, k], best first, the earlier written first where scores are equal.

        Excluded ids take no place. id −1 (score 0) where fewer than k of the others share a term with the query. Safe to use from threads.
        """
        k = min(k, len(self.ids))
        allowed = ~np.isin(self.ids, np.asarray(exclude, dtype=np.int64)) if len(exclude) else None
        found = np.zeros((len(texts), k), dtype=np.float32), np.full((len(texts), k), -1, dtype=np.int64)
        for row, text in enumerate(texts):
            scores = self._scores(text)
            if allowed is not None:
                scores *= allowed
            best = _best(scores, k)
            found[0][row, : len(best)], found[1][row, : len(best)] = scores[best], self.ids[best]
        return found

    def _scores(self, text: str) -> NDArray[np.float64]:
        """[N] sums over the query's terms; a term that occurs twice counts twice."""
        counts = Counter(self._vocabulary[term] for term in terms(text) if term in self._vocabulary)
        places = [slice(int(self.starts[term]), int(self.starts[term + 1])) for term in counts]
        if not places:
            return np.zeros(len(self.ids))
        rows = np.concatenate([self.rows[place] for place in places], dtype=np.intp)
        times = zip(places, counts.values(), strict=True)
        weights = np.concatenate(
            [self.scores[place] if count == 1 else count * self.scores[place] for place, count in times], dtype=np.float64
        )
        return np.bincount(rows, weights=weights, minlength=len(self.ids)).astype(np.float64, copy=False)

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        return {term: number for number, term in enumerate(self.terms.tobytes().decode().split("\n")[:-1])}


def _best(scores: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """Up to k places of positive scores, the highest first, the first of equal ones first."""
    least = _reached(scores, k)
    places = np.flatnonzero(scores >= least if least > 0 else scores > 0)
    return places[np.argsort(-scores[places], kind="stable")][:k]


def _reached(scores: NDArray[np.float64], k: int) -> float:
    """A score that k of them reach and few others: the k-th of groups' highest, which takes a quarter of the time of the k-th of all."""
    height = len(scores) // (GROUPS * k)
    if height > 1:
        scores = scores[: height * GROUPS * k].reshape(height, -1).max(axis=0)
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])


def build_lexical(texts: Iterable[str], ids: NDArray[np.int64]) -> LexicalIndex:
    """The index of texts under their ids [N]; the result depends on the input alone. Raises ConfigError unless there is a text an id."""
    import bm25s

    vocabulary: dict[str, int] = {}
    counted = [[vocabulary.setdefault(term, len(vocabulary)) for term in terms(text)] for text in texts]
    if len(counted) != len(ids) or not counted:
        raise ConfigError(f"An index needs as many texts as ids, and at least one, not {len(counted)} and {len(ids)}.")
    ids = np.ascontiguousarray(ids, dtype=np.int64)
    if not vocabulary:
        return LexicalIndex(ids=ids, **{name: np.zeros(int(name == "starts"), dtype=_TYPES[name]) for name in _TYPES if name != "ids"})
    scored = bm25s.BM25(method="lucene", k1=K1, b=B, csc_backend="numpy").build_index_from_ids(
        list(range(len(vocabulary))), counted, show_progress=False
    )
    return LexicalIndex(
        ids=ids,
        starts=scored["indptr"].astype(np.int64),
        rows=scored["indices"].astype(np.int32),
        scores=scored["data"].astype(np.float32),
        terms=np.frombuffer("".join(f"{term}\n" for term in vocabulary).encode(), dtype=np.uint8),
    )


def write_lexical(index: LexicalIndex) -> bytes:
    """The index as safetensors."""
    return safetensors.numpy.save({name: np.ascontiguousarray(getattr(index, name)) for name in _TYPES})


def read_lexical(place: Place, stored: StoredFile, rows: int) -> LexicalIndex:
    """The index of `rows` texts, its bytes checked before they are parsed. Raises CorruptBankError."""
    data = read_verified(place, stored)
    try:
        arrays = safetensors.numpy.load(data)
        index = LexicalIndex(**{name: _typed(arrays[name], dtype) for name, dtype in _TYPES.items()})
        _require_agreement(index, rows)
    except (KeyError, ValueError, safetensors.SafetensorError) as error:
        raise CorruptBankError(f"{place.at(stored.file)} is no index of {rows} texts ({error}); {_REPAIR}") from error
    return index


def _typed(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    if array.dtype != dtype or array.ndim != 1:
        raise ValueError(f"an array of {array.dtype} {array.shape} where {np.dtype(dtype)} [n] belongs")
    return array


def _require_agreement(index: LexicalIndex, rows: int) -> None:
    """Raise ValueError unless no array points outside another one."""
    counts = np.diff(index.starts)
    count_of_terms = int((index.terms == ord("\n")).sum())
    if len(index.ids) != rows or len(index.starts) != count_of_terms + 1:
        raise ValueError(f"{len(index.ids)} ids, {count_of_terms} terms, {len(index.starts)} starts")
    if index.starts[0] != 0 or (counts < 0).any() or not index.starts[-1] == len(index.rows) == len(index.scores):
        raise ValueError("starts that no rows follow")
    if len(index.rows) and (index.rows.min() < 0 or index.rows.max() >= rows):
        raise ValueError("a row past the last")
    if not np.isfinite(index.scores).all():
        raise ValueError("scores that are not finite")
