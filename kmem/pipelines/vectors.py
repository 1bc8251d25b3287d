"""The vectors of all shards as one array [N, dim] that is read from their files where it is asked for."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kmem.errors import CorruptBankError
from kmem.pipelines.receipts import Receipts


class Vectors:
    """rows: of each shard."""

    def __init__(self, receipts: Receipts, rows: Sequence[int], dim: int) -> None:
        self.receipts, self.rows, self.dim = receipts, tuple(rows), dim

    def all(self) -> NDArray[np.float32]:
        """[N, dim] in memory."""
        return np.concatenate([self._shard(index) for index in range(len(self.rows))])

    def _shard(self, index: int) -> NDArray[np.float32]:
        vectors = self.receipts.vectors(index, rows=self.rows[index])
        if vectors is None:
            raise CorruptBankError(f"The vectors of shard {index} of {self.receipts.place} are damaged; repeat the build with --resume.")
        return vectors
