"""Random vectors in clusters on disk, an index over them, and what it finds against an exact search."""

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem.arguments import require_count
from kmem.kstore.index.build import build_index
from kmem.kstore.index.config import IndexConfig
from kmem.kstore.index.search import read_index, search, write_index
from kmem.kstore.index.threads import thread_count
from kmem.kstore.index.tune import NEIGHBOURS, exact_neighbours, recall
from kmem.kstore.place import LocalPlace

BLOCK_ROWS = 1 << 16
SPREAD = 0.5
"""Standard deviation of a vector around its cluster's centre, whose own is 1."""
MB = 1e6


@dataclass(frozen=True, kw_only=True)
class IndexBenchConfig:
    """rows vectors of `dim` in `clusters`, an index by `factory` (see IndexConfig), and `queries` more draws from the clusters."""

    rows: int = 1_000_000
    dim: int = 384
    clusters: int = 1000
    queries: int = 500
    factory: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rows", "dim", "clusters", "queries"):
            require_count(getattr(self, name), name)


def measure_index(config: IndexBenchConfig, folder: Path) -> dict[str, Any]:
    """Build, store, read and search an index in `folder` → its `factory`, `recall5`, `search_p50_ms`, `build_s`, `peak_rss_mb` and more.

    recall5: the share of the five nearest that is found, over queries that were not tuned with. search_p50_ms: one query at a time, after
    its embedding. peak_rss_mb: of this process, so measure in a fresh one; a memory map of the vectors counts while it is in memory.
    """
    vectors = write_vectors(config, folder / "vectors.npy")
    ids = np.random.default_rng(config.seed).permutation(config.rows).astype(np.int64) + (1 << 40)
    before = peak_rss_mb()
    began = time.perf_counter()
    index, stats = build_index(vectors, ids, config=IndexConfig(factory=config.factory, seed=config.seed))
    build_s = time.perf_counter() - began
    place = LocalPlace(folder)
    record = write_index(place, index, stats, {"name": "none"})
    peak = peak_rss_mb()
    del index
    queries = drawn(config, config.queries, block=-1)
    exact = ids[exact_neighbours(vectors, queries, NEIGHBOURS)]
    opened = read_index(place, record)
    search(opened, record, queries[:1], NEIGHBOURS)
    found, seconds = [], []
    for row in range(len(queries)):
        began = time.perf_counter()
        found.append(search(opened, record, queries[row : row + 1], NEIGHBOURS)[1])
        seconds.append(time.perf_counter() - began)
    return {
        "rows": config.rows,
        "dim": config.dim,
        "factory": record.factory,
        "search": dict(record.search),
        "tuned_recall5": record.recall_at_5,
        "recall5": recall(np.concatenate(found), exact),
        "search_p50_ms": 1000 * float(np.median(seconds)),
        "search_p99_ms": 1000 * float(np.quantile(seconds, 0.99)),
        "build_s": build_s,
        "index_bytes": record.stored.size_bytes,
        "vector_bytes": 4 * config.rows * config.dim,
        "peak_rss_mb": peak,
        "rss_before_mb": before,
        "threads": thread_count(),
    }


def write_vectors(config: IndexBenchConfig, file: Path) -> NDArray[np.float32]:
    """Write unit vectors [rows, dim] block by block → a memory map of them."""
    out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(config.rows, config.dim))
    for block, start in enumerate(range(0, config.rows, BLOCK_ROWS)):
        count = min(BLOCK_ROWS, config.rows - start)
        out[start : start + count] = drawn(config, count, block)
    out.flush()
    del out
    mapped: NDArray[np.float32] = np.load(file, mmap_mode="r")
    return mapped


def drawn(config: IndexBenchConfig, count: int, block: int) -> NDArray[np.float32]:
    """[count, dim] unit vectors of the clusters; each block has its own."""
    centres = np.random.default_rng([config.seed, 0]).standard_normal((config.clusters, config.dim), dtype=np.float32)
    generator = np.random.default_rng([config.seed, 1, block + 1])
    vectors = centres[generator.integers(config.clusters, size=count)]
    vectors += SPREAD * generator.standard_normal((count, config.dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors)


def peak_rss_mb() -> float:
    """The most memory this process has had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
