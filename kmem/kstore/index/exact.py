"""The vectors themselves, beside an index that holds codes of them: a file that is read when they are asked for, not to search."""

import json
from collections.abc import Iterator

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from typing_extensions import Buffer

from kmem.errors import MemoryNotFoundError

BLOCK_ROWS = 1 << 14
"""Vectors that are handled at a time."""


def not_indexed(what: str) -> MemoryNotFoundError:
    """The error for an id of the bank that its index lacks. what: the id, or what FAISS says of it."""
    return MemoryNotFoundError(f"The search index lacks an id of the bank ({what}); mend it with kmem verify --repair-index.")


class ExactVectors:
    """Vectors [N, dim], which may lie on disk, by their ids [N]."""

    def __init__(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        self._ids, self._vectors = ids, vectors
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]

    def of(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """[n, dim] in the order asked for. Raises MemoryNotFoundError for an id that is not there."""
        at = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
        unknown = self._sorted[at] != ids
        if unknown.any():
            raise not_indexed(str(ids[unknown][0]))
        return np.asarray(self._vectors[self._order[at]], dtype=np.float32)

    def parts(self) -> Iterator[Buffer]:
        """The bytes of a safetensors file with `ids` and `vectors`, in pieces of some megabytes."""
        sizes = {"ids": self._ids.nbytes, "vectors": self._vectors.size * 4}
        header = {
            "ids": {"dtype": "I64", "shape": list(self._ids.shape), "data_offsets": [0, sizes["ids"]]},
            "vectors": {"dtype": "F32", "shape": list(self._vectors.shape), "data_offsets": [sizes["ids"], sum(sizes.values())]},
        }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        yield len(text).to_bytes(8, "little") + text
        yield self._ids.astype("<i8").tobytes()
        for start in range(0, len(self._vectors), BLOCK_ROWS):
            yield np.ascontiguousarray(self._vectors[start : start + BLOCK_ROWS], dtype="<f4").tobytes()

    @classmethod
    def read(cls, data: bytes) -> "ExactVectors":
        """From the bytes that `parts` gave."""
        tensors = safetensors.numpy.load(data)
        return cls(tensors["ids"], tensors["vectors"])
