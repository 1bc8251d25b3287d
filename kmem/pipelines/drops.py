"""Which rows of a partition a stage dropped: a file of row numbers a partition."""

import io
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kmem.kstore.place import Place
from kmem.kstore.stored import StoredFile, store
from kmem.pipelines.ledger import Ledger


def drops_file(place: Place, stage: str, index: int) -> str:
    """Where a stage writes the rows of partition `index` that go."""
    return Ledger(place, stage).file(index, "npy")


def store_rows(place: Place, file: str, rows: NDArray[np.int64]) -> StoredFile:
    """Row numbers as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, rows.astype(np.int64), allow_pickle=False)
    return store(place, file, buffer.getvalue())


def load_rows(place: Place, file: str) -> NDArray[np.int64]:
    """What `store_rows` wrote."""
    rows: NDArray[np.int64] = np.load(io.BytesIO(place.read(file)), allow_pickle=False)
    return rows


def dropped_in(place: Place, stages: Iterable[str], index: int) -> set[int]:
    """Rows of a partition that any of the stages dropped."""
    return {int(row) for stage in stages for row in load_rows(place, drops_file(place, stage, index))}
