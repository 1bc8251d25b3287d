"""`hybrid`: what vectors and words find, in one order, by reciprocal rank fusion (Cormack, Clarke and Büttcher 2009)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem.kstore.index.embed import MINILM
from kmem.kstore.index.lexical import SCORING
from kmem.kstore.index.retriever import LEXICAL, Retriever

HYBRID = "hybrid"
RANK_CONSTANT = 60
"""What is added to a rank, which starts at 1, before its reciprocal is taken; the paper's."""
DEPTH = 100
"""Ranks of each list that count, more where more are asked for."""


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


def fuse(first: NDArray[np.int64], second: NDArray[np.int64], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Ids of two searches [Q, n] and [Q, m], best first → scores and ids [Q, k] of both, best first. −1 stands where there are fewer.

    The score is the sum over the lists of 1 / (60 + rank): at most 2/61. Of equal ones, what `first` ranks higher comes first.
    """
    scores = np.zeros((len(first), k), dtype=np.float32)
    ids = np.full((len(first), k), -1, dtype=np.int64)
    for row, lists in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        summed: dict[int, float] = {}
        for ranked in lists:
            for rank, memory_id in enumerate(ranked, 1):
                if memory_id >= 0:
                    summed[memory_id] = summed.get(memory_id, 0.0) + 1 / (RANK_CONSTANT + rank)
        best = sorted(summed.items(), key=lambda pair: -pair[1])[:k]
        ids[row, : len(best)] = [memory_id for memory_id, _ in best]
        scores[row, : len(best)] = [score for _, score in best]
    return scores, ids
