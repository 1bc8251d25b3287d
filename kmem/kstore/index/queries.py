"""What a bank is searched with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Queries:
    """n queries: unit vectors [n, dim] for an index of vectors (dim 0 where the bank has none), texts for an index of words.

    `texts` is empty where nobody has any, as with vectors that a model's hidden states gave.
    """

    vectors: NDArray[np.float32]
    texts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.vectors)

    def latest(self, count: int) -> "Queries":
        """The last `count`, the last of all first."""
        return Queries(vectors=self.vectors[::-1][:count], texts=self.texts[::-1][:count])
