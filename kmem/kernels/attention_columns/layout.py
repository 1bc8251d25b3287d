"""What is read: rows of queries, the keys they may see, and how a column of their attention becomes a spectrum."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Queries of consecutive tokens, and keys.

    query [B, Q, r, D] of the tokens at positions first … first + r − 1; a row at a position below 0 sees nothing.
    key [B, H, n, D]; position [B, H, n] int64, ascending, so that −1, where there is no key, comes first. A row sees the keys at positions
    up to its own.
    """

    query: Tensor
    key: Tensor
    position: Tensor
    first: int
    scaling: float
    softcap: float | None = None

    @property
    def group(self) -> int:
        """Query heads of a key-value head."""
        return self.query.shape[1] // self.key.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """What sums are taken in: float32 or wider."""
        return torch.promote_types(self.query.dtype, torch.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """A spectrum is |basis · frame|, a frame 2·hop rows, the next one a hop later; of all spectra a moving average is kept.

    basis: [2, bins, 2·hop] real and imaginary part of each frequency. decay: what a frame leaves of the average before it.
    """

    basis: Tensor
    decay: float

    @property
    def hop(self) -> int:
        return self.basis.shape[-1] // 2

    @property
    def bins(self) -> int:
        return self.basis.shape[1]

    @property
    def suits_blocks(self) -> bool:
        """Whether a hop of rows is a block as the Triton kernel has them."""
        return 16 <= self.hop <= 64 and self.hop & (self.hop - 1) == 0

    def halves(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """[2·bins, hop] twice: what the first and the second hop rows of a frame add to its 2·bins parts, in the type of `like`."""
        both = self.basis.to(like).flatten(0, 1)
        return both[:, : self.hop], both[:, self.hop :]

    def weights(self, count: int) -> Tensor:
        """[F] float64 of each frame in the average."""
        return (1 - self.decay) * self.decay ** torch.arange(count - 1, -1, -1, dtype=torch.float64)
