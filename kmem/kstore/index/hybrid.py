"""`hybrid`: what vectors and words find, in one order, by a convex combination of scores (Bruch, Gai and Ingber 2023)."""

import math
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
        places = {memory_id: place for place, memory_id in enumerate(by_vector[1][by_vector[1] >= 0].tolist())}
        near_count = len(places)
        at = [places.setdefault(memory_id, len(places)) for memory_id in by_word[1][by_word[1] >= 0].tolist()]
        standard = _standard(by_vector[0][:near_count]), _standard(by_word[0])
        vectors, words = (np.full(len(places), scores_of[-1]) for scores_of in standard)
        vectors[:near_count], words[at] = standard[0][:near_count], standard[1][: len(at)]
        fused = (1 - fusion.words) * vectors + fusion.words * words
        best = np.argsort(-fused, kind="stable")[:k]
        ids[row, : len(best)], scores[row, : len(best)] = np.fromiter(places, np.int64, len(places))[best], fused[best]
    return scores, ids


def _standard(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """A list's scores, best first, less their mean, over their standard deviation; 0 where all are equal."""
    if not len(scores):
        return np.zeros(1)
    exact = scores.astype(np.float64)
    apart = exact - np.add.reduce(exact) / len(exact)
    standard: NDArray[np.float64] = apart / max(math.sqrt(np.add.reduce(apart * apart) / len(exact)), LEAST)
    return standard
