"""The index on disk and the search in it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from queue import Queue
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from kmem.errors import CorruptBankError
from kmem.kstore.digest import Digest
from kmem.kstore.index.exact import ExactVectors, not_indexed
from kmem.kstore.index.gpu import on_gpus
from kmem.kstore.index.opened import Found, Index
from kmem.kstore.index.stats import IndexStats
from kmem.kstore.index.threads import thread_count, threads
from kmem.kstore.manifest import IndexRecord
from kmem.kstore.place import Place
from kmem.kstore.place.protocol import RESTORE
from kmem.kstore.stored import StoredFile, read_verified, store_stream

FEW_QUERIES = 64
"""Up to so many are searched by the calling thread alone: FAISS's OpenMP threads would go on spinning beside the model's."""
PIECE_BYTES = 1 << 20


def write_index(place: Place, index: Index, stats: IndexStats, embedder: Mapping[str, Any], number: int = 1) -> IndexRecord:
    """Write the index durably, and the vectors beside one of codes. embedder: the `identity()` of the embedder that made the vectors.

    The name of a later one says what is in it: of two writers at once, none writes over the other's.
    """
    name = index_name(number, partial(_digest, index.searched))
    stored = store_stream(place, f"{name}.faiss", serialised(index.searched))
    vectors = None if index.exact is None else store_stream(place, f"{name}-vectors.safetensors", index.exact.parts())
    return IndexRecord(stored=stored, vectors=vectors, embedder=dict(embedder), **asdict(stats))


def index_name(number: int, digest: Callable[[], Any]) -> str:
    """Path, without suffix, of the index that manifest `number` lists; a later one's has the first digits of what is in it."""
    return f"index/{number:06d}" if number == 1 else f"index/{number:06d}-{str(digest()).partition(':')[2][:12]}"


def read_index(place: Place, record: IndexRecord) -> Index:
    """The index, its bytes checked before FAISS parses them; on GPUs too, where there are some. Raises CorruptBankError."""
    data = read_verified(place, record.stored)
    searched = faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))
    if (searched.ntotal, searched.d) != (record.rows, record.dim):
        raise CorruptBankError(
            f"{place.at(record.stored.file)} holds {searched.ntotal} vectors of {searched.d} "
            f"where the manifest lists {record.rows} of {record.dim}; {RESTORE}"
        )
    exact = None if record.vectors is None else partial(_read_vectors, place, record.vectors)
    return Index(record.kind, searched, exact, on_gpus(searched, record.kind, record.search))


def search(index: Index, record: IndexRecord, queries: NDArray[np.float32], k: int, exclude: Sequence[int] = ()) -> Found:
    """Scores and ids [Q, k] of the nearest vectors to queries [Q, dim], best first; id −1 where fewer than k are left.

    Excluded ids take no place. A search that finds fewer looks twice as far, again and again. Safe to call from threads.
    """
    k = min(k, record.rows)
    left = min(k, record.rows - len(exclude))
    settings: dict[str, int] | None = _past(exclude, record)
    with threads(1 if len(queries) <= FEW_QUERIES else thread_count()):
        if index.gpu is not None and not len(exclude) and k <= index.gpu.most:
            found = index.gpu.search(queries, k)
            if _whole(found, left):
                return found
        while settings is not None:
            found = index.once(queries, k, settings, exclude)
            if _whole(found, left):
                return found
            settings = index.further(settings)
        return index.everywhere(queries, k, exclude) if record.kind == "hnsw" else found


def stored_vectors(index: Index, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """[n, dim] the vectors that were indexed. Raises MemoryNotFoundError for an id that the index lacks."""
    if index.exact is not None:
        return index.exact.of(ids)
    if index.kind == "ivf":
        index.searched.set_direct_map_type(faiss.DirectMap.Hashtable)  # type: ignore[attr-defined]
    try:
        found: NDArray[np.float32] = index.searched.reconstruct_batch(ids)
    except RuntimeError as error:
        raise not_indexed(str(error)) from None
    return found


def _past(exclude: Sequence[int], record: IndexRecord) -> dict[str, int]:
    """The tuned settings; a graph's search also walks over what is excluded, so it walks as much further."""
    settings = dict(record.search)
    if "efSearch" in settings and len(exclude):
        settings["efSearch"] = min(record.rows, settings["efSearch"] * record.rows // max(1, record.rows - len(exclude)))
    return settings


def _whole(found: Found, count: int) -> bool:
    return bool((found[1][:, :count] >= 0).all())


def _read_vectors(place: Place, stored: StoredFile) -> ExactVectors:
    return ExactVectors.read(read_verified(place, stored))


def _digest(searched: Any) -> Digest:
    """What a FAISS index will have on disk."""
    digest = Digest()
    faiss.write_index(searched, faiss.PyCallbackIOWriter(digest.update, PIECE_BYTES))  # type: ignore[attr-defined]
    return digest


def serialised(searched: Any) -> Iterator[bytes]:
    """The bytes of a FAISS index in pieces, written by a thread, so that no second copy of it is in memory."""
    pieces: Queue[bytes | None] = Queue(maxsize=4)

    def write() -> None:
        try:
            faiss.write_index(searched, faiss.PyCallbackIOWriter(pieces.put, PIECE_BYTES))  # type: ignore[attr-defined]
        finally:
            pieces.put(None)

    piece: bytes | None = b""
    with ThreadPoolExecutor(1) as beside:
        writing = beside.submit(write)
        try:
            while (piece := pieces.get()) is not None:
                yield piece
        finally:
            while piece is not None:  # whoever took the pieces failed
                piece = pieces.get()
        writing.result()  # an index that was cut short must not pass for a whole one
