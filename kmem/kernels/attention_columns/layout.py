"""What is read: rows of queries, the keys they may see, and how a column of their attention becomes a spectrum."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(kw_only=True, eq=False)
class Attention:
    """Where a kernel that has the rows' softmax in hand puts their attention as well, if it can: then `done` is set.

    value [B, H, n, V] → output [B, Q, r, V] and log-sum-exp lse [B, Q, r]; where a row sees nothing 0 and −∞. seconds: what of the call
    attention alone would have taken.
    """

    value: Tensor
    output: Tensor
    lse: Tensor
    seconds: float = 0.0
    done: bool = False

    @classmethod
    def of(cls, value: Tensor, query: Tensor) -> "Attention":
        """For queries [B, Q, r, D]."""
        wide = torch.promote_types(query.dtype, torch.float32)
        shape = query.shape[:3]
        lse = torch.full(shape, -torch.inf, dtype=wide, device=query.device)
        return cls(value=value, output=query.new_zeros(*shape, value.shape[-1], dtype=wide), lse=lse)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Queries of consecutive tokens, and keys.

    query [B, Q, r, D] of the tokens at positions first … first + r − 1; a row at a position below 0 sees nothing.
    key [B, H, n, D]; position [B, H, n] int64, ascending, so that −1, where there is no key, comes first. A row sees the keys at positions
    up to its own. attention: asks for it, too.
    """

    query: Tensor
    key: Tensor
    position: Tensor
    first: int
    scaling: float
    softcap: float | None = None
    attention: Attention | None = None

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

    def weights(self, count: int) -> Tensor:
        """[F] float64 of each frame in the average."""
        return (1 - self.decay) * self.decay ** torch.arange(count - 1, -1, -1, dtype=torch.float64)
