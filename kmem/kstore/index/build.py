"""Building the index: exact below a size, inverted lists above it, with the number of lists to visit tuned and measured."""

import math
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from kmem.errors import ConfigError
from kmem.kstore.index.parameters import search_parameters

NEIGHBOURS = 5
MAX_SAMPLE = 500
NOISE = 0.75
"""Length of the random vector added to a stored one to make a query: their cosine is then near 0.8."""


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """Exact search below `flat_below` vectors; above, visit enough lists for `target_recall` of the five nearest."""

    flat_below: int = 10_000
    target_recall: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.target_recall <= 1:
            raise ConfigError(f"target_recall must lie in (0, 1], not {self.target_recall}.")


@dataclass(frozen=True, kw_only=True)
class IndexStats:
    """What was built and how well it searches; fields as in IndexRecord."""

    kind: str
    factory: str
    metric: str
    nprobe: int
    recall_at_5: float
    recall_sample: int
    rows: int
    dim: int


def build_index(
    vectors: NDArray[np.float32],
    ids: NDArray[np.int64],
    *,
    config: IndexConfig | None = None,
    queries: NDArray[np.float32] | None = None,
) -> tuple[Any, IndexStats]:
    """An inner-product FAISS index over unit vectors [N, dim] under their ids [N].

    queries: [n, dim] real query vectors to tune with (at most 500 are used); noisy copies of stored vectors unless given.
    The result depends on the input and the seed alone, not on the number of threads.
    Raises ConfigError for shapes that disagree, no vectors, values that aren't finite, or an id that occurs twice.
    """
    config = config or IndexConfig()
    vectors, ids = np.ascontiguousarray(vectors, dtype=np.float32), np.ascontiguousarray(ids, dtype=np.int64)
    _check(vectors, ids)
    rows, dim = vectors.shape
    if rows < config.flat_below:
        kind, factory, nprobe, recall, sample = "flat", "IDMap2,Flat", 0, 1.0, 0
        index: Any = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
        index.add_with_ids(vectors, ids)
    else:
        lists = list_count(rows)
        kind, factory = "ivf", f"IVF{lists},Flat"
        index = _train_ivf(factory, vectors, ids, config.seed)
        tuning = _noisy_copies(vectors, config.seed) if queries is None else np.ascontiguousarray(queries[:MAX_SAMPLE], dtype=np.float32)
        nprobe, recall = _tune(index, lists, vectors, ids, tuning, config.target_recall)
        sample = len(tuning)
    stats = IndexStats(
        kind=kind, factory=factory, metric="inner_product", nprobe=nprobe, recall_at_5=recall, recall_sample=sample, rows=rows, dim=dim
    )
    return index, stats


def list_count(rows: int) -> int:
    """4·√N rounded to a power of two, and never more than there are vectors."""
    return 1 << min(round(math.log2(4 * math.sqrt(rows))), int(math.log2(rows)))


def _train_ivf(factory: str, vectors: NDArray[np.float32], ids: NDArray[np.int64], seed: int) -> Any:
    index: Any = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed
    index.cp.min_points_per_centroid = 1  # 4·√N lists leave fewer than the 39 points below which FAISS prints a warning
    index.train(vectors)
    index.add_with_ids(vectors, ids)
    return index


def _noisy_copies(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    chosen = generator.choice(len(vectors), size=min(MAX_SAMPLE, len(vectors)), replace=False)
    noise = generator.standard_normal((len(chosen), vectors.shape[1]))
    noisy = vectors[chosen] + NOISE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return np.ascontiguousarray(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), dtype=np.float32)


def _tune(
    index: Any, lists: int, vectors: NDArray[np.float32], ids: NDArray[np.int64], queries: NDArray[np.float32], target: float
) -> tuple[int, float]:
    """The smallest power of two of lists to visit that reaches the target, and the recall it has."""
    k = min(NEIGHBOURS, len(vectors))
    _, exact_rows = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    exact = ids[exact_rows]
    nprobe = 1
    while True:
        _, found = index.search(queries, k, params=search_parameters("ivf", nprobe))
        recall = float((found[:, :, None] == exact[:, None, :]).any(axis=1).mean())
        if recall >= target or nprobe >= lists:
            return nprobe, recall
        nprobe *= 2


def _check(vectors: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
    if vectors.ndim != 2 or len(vectors) == 0 or ids.shape != (len(vectors),):
        raise ConfigError(f"An index needs vectors [N, dim] and ids [N] with N ≥ 1, not shapes {vectors.shape} and {ids.shape}.")
    if not np.isfinite(vectors).all():
        raise ConfigError(f"Vector {int(np.argmin(np.isfinite(vectors).all(axis=1)))} is not finite.")
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) != len(ids):
        raise ConfigError(f"Id {unique[counts > 1][0]} occurs more than once.")
