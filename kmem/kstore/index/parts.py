"""An index of inverted lists filled in parts by several processes: each fills a copy of the trained one, and the parts are merged in order.

The merged index is the one that a single process would have filled, byte for byte: lists keep the order in which vectors came.
"""

from collections.abc import Iterable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from kmem.kstore.index.search import serialised
from kmem.kstore.index.tune import blocks
from kmem.kstore.place import Place


def write_part(place: Place, file: str, index: Any) -> None:
    """Keep an index, empty or a part, while the whole is built."""
    place.replace_stream(file, serialised(index))


def read_part(place: Place, file: str) -> Any:
    """What `write_part` wrote."""
    return faiss.deserialize_index(np.frombuffer(place.read(file), dtype=np.uint8))


def filled(trained: Any, vectors: NDArray[np.float32], ids: NDArray[np.int64]) -> Any:
    """`trained` with these vectors [n, dim] under their ids [n]."""
    for start, block in blocks(vectors):
        trained.add_with_ids(block, ids[start : start + len(block)])
    return trained


def merged(trained: Any, parts: Iterable[Any]) -> Any:
    """`trained` with what the parts hold, one after another; of them only one is in memory."""
    for part in parts:
        trained.merge_from(part, 0)
    return trained
