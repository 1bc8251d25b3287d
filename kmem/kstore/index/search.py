"""The index on disk and the search in it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from kmem.errors import CorruptBankError, MemoryNotFoundError
from kmem.kstore.digest import digest_of
from kmem.kstore.index.build import IndexStats
from kmem.kstore.index.parameters import search_parameters
from kmem.kstore.manifest import IndexRecord
from kmem.kstore.place import Place
from kmem.kstore.place.protocol import RESTORE
from kmem.kstore.stored import StoredFile, read_verified

FEW_QUERIES = 64
"""Up to so many are searched by the calling thread alone: FAISS's OpenMP threads would go on spinning beside the model's."""


def write_index(place: Place, index: Any, stats: IndexStats, embedder: Mapping[str, Any], number: int = 1) -> IndexRecord:
    """Write the index durably. embedder: the `identity()` of the embedder that made the vectors.

    The name of a later one says what is in it: of two writers at once, none writes over the other's.
    """
    data = faiss.serialize_index(index).data
    digest = digest_of(data)
    content = "" if number == 1 else f"-{digest.partition(':')[2][:12]}"
    stored = StoredFile(file=f"index/{number:06d}{content}.faiss", size_bytes=data.nbytes, digest=digest)
    place.replace(stored.file, data)
    return IndexRecord(stored=stored, embedder=dict(embedder), **asdict(stats))


def read_index(place: Place, record: IndexRecord) -> Any:
    """The FAISS index, its bytes checked before FAISS parses them. Raises CorruptBankError."""
    data = read_verified(place, record.stored)
    index = faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))
    if (index.ntotal, index.d) != (record.rows, record.dim):
        raise CorruptBankError(
            f"{place.at(record.stored.file)} holds {index.ntotal} vectors of {index.d} "
            f"where the manifest lists {record.rows} of {record.dim}; {RESTORE}"
        )
    return index


def search(
    index: Any, record: IndexRecord, queries: NDArray[np.float32], k: int, exclude: Sequence[int] = ()
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores and ids [Q, k] of the nearest vectors to queries [Q, dim], best first; id −1 where fewer than k are left.

    Excluded ids take no place. Inverted lists are widened from the tuned `nprobe` until k are found. Safe to call from threads.
    """
    k, nprobe = min(k, record.rows), record.nprobe
    with _threads(1 if len(queries) <= FEW_QUERIES else faiss.omp_get_max_threads()):
        while True:
            scores, ids = index.search(queries, k, params=search_parameters(record.kind, nprobe, exclude))
            if record.kind == "flat" or nprobe >= index.nlist or bool((ids >= 0).all()):
                return scores, ids
            nprobe *= 2


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """FAISS computes on `count` threads in calls of this thread; OpenMP keeps the number a thread, so no other one sees it."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def stored_vectors(index: Any, kind: str, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """[n, dim] vectors as the index holds them. Raises MemoryNotFoundError for an id that it doesn't."""
    if kind == "ivf":
        index.set_direct_map_type(faiss.DirectMap.Hashtable)  # type: ignore[attr-defined]
    try:
        found: NDArray[np.float32] = index.reconstruct_batch(ids)
    except RuntimeError as error:
        raise MemoryNotFoundError(f"The search index lacks an id of the bank; mend it with kmem verify --repair-index ({error}).") from None
    return found
