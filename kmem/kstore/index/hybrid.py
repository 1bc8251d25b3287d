"""`hybrid`: what vectors and words find, in one order, by a convex combination of scores (Bruch, Gai and Ingber 2023)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kmem.arguments import require_count
from kmem.errors import ConfigError
from kmem.kstore.index.embed import MINILM
from kmem.kstore.index.lexical import SCORING
from kmem.kstore.index.retriever import LEXICAL, Retriever

if TYPE_CHECKING:
    from kmem.kstore.index.opened import Found

HYBRID = "hybrid"


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """words: weight of the list of words, that of vectors is the rest. depth: of each list, more where more are asked for."""

    words: float = 0.5
    depth: int = 100

    def __post_init__(self) -> None:
        require_count(self.depth, "depth")
        if not 0 <= self.words <= 1:
            raise ConfigError(f"words must lie between 0 and 1, not {self.words:g}.")


FUSION = Fusion()
"""Measured (docs/decisions.md)."""
LEAST = 1e-6
"""Standard deviations are at least this."""


@dataclass(frozen=True)
class Hybrid:
    """`dense`'s vectors, and words beside them."""

    dense: Retriever

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        return self.dense.embed(texts, progress)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.dense.embed_queries(texts)

    def identity(self) -> dict[str, Any]:
        """That of `dense`, under the name of both: `hybrid` with MiniLM, `hybrid:NAME` with another."""
        dense = self.dense.identity()
        return {**dense, "name": HYBRID if dense["name"] == MINILM else f"{HYBRID}:{dense['name']}", LEXICAL: SCORING}


def fuse(near: "Found", sharing: "Found", k: int, fusion: Fusion = FUSION) -> "Found":
    """Scores and ids of two searches, by vectors [Q, n] and by words [Q, m], best first → scores and ids [Q, k] of both, best first.

    A list's scores become standard deviations above the list's mean, query by query; whoever is missing from a list has the least of it,
    which among words is that of sharing none where fewer than m share one. Of equal sums, what `near` ranks higher comes first. id −1
    (score 0) stands where there are fewer than k.
    """
    scores = np.zeros((len(near[1]), k), dtype=np.float32)
    ids = np.full((len(near[1]), k), -1, dtype=np.int64)
    for row, (by_vector, by_word) in enumerate(zip(zip(*near, strict=True), zip(*sharing, strict=True), strict=True)):
        there = by_vector[1] >= 0, by_word[1] >= 0
        found, first, at = np.unique(np.concatenate([by_vector[1][there[0]], by_word[1][there[1]]]), return_index=True, return_inverse=True)
        count = int(there[0].sum())
        vectors = _spread(_standard(by_vector[0][there[0]]), at[:count], len(found))
        words = _spread(_standard(by_word[0]), at[count:], len(found))
        fused = (1 - fusion.words) * vectors + fusion.words * words
        best = np.lexsort((first, -fused))[:k]
        ids[row, : len(best)], scores[row, : len(best)] = found[best], fused[best]
    return scores, ids


def _standard(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """A list's scores, best first, less their mean, over their standard deviation; 0 where all are equal."""
    if not len(scores):
        return np.zeros(1)
    exact = scores.astype(np.float64)
    standard: NDArray[np.float64] = (exact - exact.mean()) / max(float(exact.std()), LEAST)
    return standard


def _spread(scores: NDArray[np.float64], at: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """[count]: the first of the scores at their places, elsewhere the last."""
    spread = np.full(count, scores[-1])
    spread[at] = scores[: len(at)]
    return spread
