"""Building a search index: trained on a sample, filled in blocks, tuned and measured. See factory.py for the kinds."""

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from kmem.errors import ConfigError
from kmem.kstore.index.config import IndexConfig
from kmem.kstore.index.exact import ExactVectors
from kmem.kstore.index.factory import Factory
from kmem.kstore.index.opened import Index
from kmem.kstore.index.stats import IndexStats
from kmem.kstore.index.threads import thread_count, threads
from kmem.kstore.index.tune import FIRST, MAX_SAMPLE, NEIGHBOURS, blocks, exact_neighbours, noisy_copies, other_neighbours, tuned

ROWS_A_LIST = 40
"""Of a sample to train lists on: FAISS warns below 39 and uses 256 at most; training costs as much."""
ROWS_A_WORD = 256
"""The same for the words of a product quantiser."""

Fill = Callable[[Any], Any]
"""Trained and empty → with all vectors in it, in their order, under their ids."""


def build_index(
    vectors: NDArray[np.float32],
    ids: NDArray[np.int64],
    *,
    config: IndexConfig | None = None,
    queries: NDArray[np.float32] | None = None,
    fill: Fill | None = None,
) -> tuple[Index, IndexStats]:
    """An inner-product index over unit vectors [N, dim] under their ids [N].

    vectors may be a memory map: beside the index itself, only a training sample and one block of them are in memory.
    fill: puts the vectors into a trained index of inverted lists; unless given, this process does, block after block.
    queries: [n, dim] real query vectors to tune with, n ≥ 1 (at most 500 are used); noisy copies of stored vectors unless given.
    The result depends on the input and the seed alone, not on the number of threads: a graph is built on one.
    Raises ConfigError for shapes that disagree, no vectors, values that aren't finite, an id that occurs twice, or an index that vectors
    of this dimension can't have.
    """
    config = config or IndexConfig()
    ids = np.ascontiguousarray(ids, dtype=np.int64)
    _check(vectors, ids)
    rows, dim = vectors.shape
    factory = config.factory_of(rows, dim)
    searched = _trained(factory, vectors, config.seed)
    if fill is not None and factory.lists:
        searched = fill(searched)
    else:
        with threads(1 if factory.kind == "hnsw" else thread_count()):
            for start, block in blocks(vectors):
                searched.add_with_ids(block, ids[start : start + len(block)])
    index = Index(factory.kind, searched, None if factory.exact else lambda: ExactVectors(ids, vectors))
    search, recall, sample = _measured(index, factory, vectors, ids, queries, config)
    stats = IndexStats(
        kind=factory.kind,
        asked=config.factory,
        factory=str(factory),
        metric="inner_product",
        search=search,
        target_recall=config.target_recall,
        recall_at_5=recall,
        recall_sample=sample,
        rows=rows,
        dim=dim,
    )
    return index, stats


def _trained(factory: Factory, vectors: NDArray[np.float32], seed: int) -> Any:
    index: Any = faiss.index_factory(vectors.shape[1], factory.searched, faiss.METRIC_INNER_PRODUCT)
    if not factory.trained_on:
        return index
    index.cp.seed = seed
    index.cp.min_points_per_centroid = 1  # small banks have fewer than the 39 points below which FAISS prints a warning
    if factory.parts:
        index.do_polysemous_training = False  # orders the words for a search that nobody asks for, in minutes where training takes seconds
        index.pq.cp.seed = seed
        index.pq.cp.min_points_per_centroid = 1
    size = min(len(vectors), max(ROWS_A_LIST * factory.lists, ROWS_A_WORD << factory.bits if factory.parts else 0))
    sample = vectors
    if size < len(vectors):
        sample = vectors[np.sort(np.random.default_rng(seed).choice(len(vectors), size=size, replace=False))]
    index.train(np.ascontiguousarray(sample, dtype=np.float32))
    return index


def _measured(
    index: Index,
    factory: Factory,
    vectors: NDArray[np.float32],
    ids: NDArray[np.int64],
    queries: NDArray[np.float32] | None,
    config: IndexConfig,
) -> tuple[dict[str, int], float, int]:
    """Tuned settings, the recall they have, and over how many queries; an exact index needs none."""
    if not factory.settings or len(vectors) == 1:
        return {name: FIRST[name] for name in factory.settings}, 1.0, 0
    if queries is None:
        k = min(NEIGHBOURS, len(vectors) - 1)
        tuning, made_of = noisy_copies(vectors, config.seed)
        exact, wanted, at_least = other_neighbours(vectors, tuning, made_of, k), k + 1, config.at_least
    else:
        at_least = {}
        wanted = min(NEIGHBOURS, len(vectors))
        tuning = np.ascontiguousarray(queries[:MAX_SAMPLE], dtype=np.float32)
        exact = exact_neighbours(vectors, tuning, wanted)
    search, recall = tuned(index, factory, tuning, ids[exact], wanted, config.target_recall, at_least)
    return search, recall, len(tuning)


def _check(vectors: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
    if vectors.ndim != 2 or len(vectors) == 0 or ids.shape != (len(vectors),):
        raise ConfigError(f"An index needs vectors [N, dim] and ids [N] with N ≥ 1, not shapes {vectors.shape} and {ids.shape}.")
    for start, block in blocks(vectors):
        if not np.isfinite(block).all():
            raise ConfigError(f"Vector {start + int(np.argmin(np.isfinite(block).all(axis=1)))} is not finite.")
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) != len(ids):
        raise ConfigError(f"Id {unique[counts > 1][0]} occurs more than once.")
