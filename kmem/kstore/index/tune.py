"""How far a search must look to find what an exact one finds, measured on a sample that was held out."""

from collections.abc import Iterator, Mapping
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from kmem.kstore.index.exact import BLOCK_ROWS
from kmem.kstore.index.factory import Factory
from kmem.kstore.index.opened import Index

NEIGHBOURS = 5
MAX_SAMPLE = 500
NOISE = 0.75
"""Length of the random vector added to a stored one to make a query: their cosine is then near 0.8."""
FIRST = {"nprobe": 1, "efSearch": 16, "k_factor": 2}
MOST_FACTOR = 64
LEAST_GAIN = 0.005
"""Of recall, by looking twice as far among codes; where less is gained, it is the codes that are wrong."""


def blocks(vectors: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """First row and rows [n, dim] of vectors [N, dim] that may lie on disk."""
    for start in range(0, len(vectors), BLOCK_ROWS):
        yield start, np.ascontiguousarray(vectors[start : start + BLOCK_ROWS], dtype=np.float32)


def noisy_copies(vectors: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """At most MAX_SAMPLE queries [n, dim], stored vectors with noise, and the rows [n] that they were made of."""
    generator = np.random.default_rng(seed)
    chosen = generator.choice(len(vectors), size=min(MAX_SAMPLE, len(vectors)), replace=False)
    noise = generator.standard_normal((len(chosen), vectors.shape[1]))
    noisy = vectors[chosen] + NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return np.ascontiguousarray(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), dtype=np.float32), chosen


def other_neighbours(vectors: NDArray[np.float32], queries: NDArray[np.float32], made_of: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """[Q, k] rows nearest to noisy copies but for the vector each was made of, which any search finds."""
    rows = exact_neighbours(vectors, queries, k + 1)
    order = np.argsort(rows == made_of[:, None], axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rows, order, axis=1)


def exact_neighbours(vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """[Q, k] rows of the vectors nearest to queries [Q, dim], every one compared."""
    nearest: Any = faiss.ResultHeap(len(queries), k, keep_max=True)
    for start, block in blocks(vectors):
        scores, rows = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        nearest.add_result(scores, np.where(rows >= 0, rows + start, -1))
    nearest.finalize()
    found: NDArray[np.int64] = nearest.I
    return found


def recall(found: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    """The share of `exact` [Q, k] that is among `found` [Q, k']."""
    return float((found[:, :, None] == exact[:, None, :]).any(axis=1).mean())


def tuned(
    index: Index,
    factory: Factory,
    queries: NDArray[np.float32],
    exact: NDArray[np.int64],
    k: int,
    target: float,
    at_least: Mapping[str, int] | None = None,
) -> tuple[dict[str, int], float]:
    """Settings that look the least far for the target, each doubled until it is reached, and the recall they have.

    Where codes keep the target out of reach, the settings are those from which looking twice as far gains next to nothing. exact: [Q, n]
    ids that are to be among the k that each query finds. at_least: settings to begin with where they look farther than the first ones.
    """
    settings = {name: max(FIRST[name], (at_least or {}).get(name, 0)) for name in factory.settings}
    if "nprobe" in settings:
        settings["nprobe"] = min(settings["nprobe"], factory.lists)
    best = recall(index.once(queries, k, settings)[1], exact)
    while best < target:
        for candidate in _further(index, settings):
            reached = recall(index.once(queries, k, candidate)[1], exact)
            if reached >= target or factory.exact or reached >= best + LEAST_GAIN:
                settings, best = candidate, reached
                break
        else:
            break
    return settings, best


def _further(index: Index, settings: dict[str, int]) -> Iterator[dict[str, int]]:
    """What to try next: more lists or links, then more codes to rank again, then both."""
    wider = index.further(settings)
    factor = settings.get("k_factor", MOST_FACTOR)
    if wider is not None:
        yield wider
    if factor < MOST_FACTOR:
        yield {**settings, "k_factor": 2 * factor}
        if wider is not None:
            yield {**wider, "k_factor": 2 * factor}
