"""Keys and values of tokens of which each head has kept its own: as many bytes as there are tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(eq=False)
class Store:
    """The kept tokens of b·H heads, one head after another, and the newest ones, which all heads have.

    key, value [N, D] and position [N] of the kept; counts [b, H] of each head's; recent_key, recent_value [b, H, t, D], the first of
    them at position `recent`.
    """

    key: Tensor
    value: Tensor
    position: Tensor
    counts: Tensor
    recent_key: Tensor
    recent_value: Tensor
    recent: int
    _places: Tensor | None = None

    @classmethod
    def of(cls, key: Tensor, value: Tensor) -> "Store":
        """Of keys and values [b, H, n, D] at positions 0 … n − 1, nothing dropped yet."""
        batch, heads, _, dim = key.shape
        return cls(
            key=key.new_empty(0, dim),
            value=value.new_empty(0, value.shape[-1]),
            position=torch.empty(0, dtype=torch.int32, device=key.device),
            counts=torch.zeros(batch, heads, dtype=torch.int64, device=key.device),
            recent_key=key.clone(),
            recent_value=value.clone(),
            recent=0,
        )

    @property
    def end(self) -> int:
        """Tokens seen."""
        return self.recent + self.recent_key.shape[2]

    @property
    def held(self) -> Tensor:
        """[b, H] tokens of each head."""
        return self.counts + self.recent_key.shape[2]

    @property
    def widest(self) -> int:
        """Kept tokens of the head that has most."""
        return int(self.counts.max())

    @property
    def nbytes(self) -> int:
        """Of keys and values."""
        return sum(part.nbytes for part in (self.key, self.value, self.recent_key, self.recent_value))

    @property
    def index_nbytes(self) -> int:
        """Of what says where they belong."""
        return sum(part.nbytes for part in (self.position, self.counts, self._places) if part is not None)

    def append(self, key: Tensor, value: Tensor) -> None:
        """[b, H, q, D] of the next tokens."""
        self.recent_key = torch.cat([self.recent_key, key], dim=2)
        self.recent_value = torch.cat([self.recent_value, value], dim=2)

    def keys(self) -> Tensor:
        """[b, H, n, D], places that a head does not fill first."""
        return torch.cat([self._padded(self.key), self.recent_key], dim=2)

    def values(self) -> Tensor:
        """The same of values."""
        return torch.cat([self._padded(self.value), self.recent_value], dim=2)

    def positions(self) -> Tensor:
        """[b, H, n], −1 where there is no token."""
        old = self._padded(self.position[:, None].long())[..., 0]
        width = old.shape[2]
        place = torch.arange(width, device=old.device)
        old = old.masked_fill(place < width - self.counts[..., None], -1)
        new = torch.arange(self.recent, self.end, device=old.device).expand(*self.counts.shape, -1)
        return torch.cat([old, new], dim=2)

    def drop(self, kept: Tensor) -> None:
        """Keep these [b, H, n] of the n places of `keys()` alone."""
        position = self.positions()
        kept = kept & (position >= 0)
        self.key, self.value = self.keys()[kept], self.values()[kept]
        self.position = position[kept].to(torch.int32)
        self.counts, self.recent = kept.sum(-1), self.end
        self.recent_key, self.recent_value = (part[:, :, :0].clone() for part in (self.recent_key, self.recent_value))
        self._places = None

    def select(self, rows: Tensor) -> "Store":
        """Of these of its b rows, in this order; a row may come more than once."""
        rows = rows.to(self.counts.device)
        begins = pad(self.counts.sum(1).cumsum(0), (1, 0)).tolist()
        places = torch.cat([torch.arange(begins[row], begins[row + 1], device=rows.device) for row in rows.tolist()])
        return Store(
            key=self.key[places],
            value=self.value[places],
            position=self.position[places],
            counts=self.counts[rows],
            recent_key=self.recent_key[rows],
            recent_value=self.recent_value[rows],
            recent=self.recent,
        )

    def _padded(self, flat: Tensor) -> Tensor:
        """[N, ·] → [b, H, most, ·], each head's at the end."""
        batch, heads = self.counts.shape
        if self._places is None:
            most = self.widest
            if len(flat) == batch * heads * most:
                self._places = torch.empty(0, device=flat.device)
            else:
                ends = self.counts.flatten().cumsum(0)
                self._places = (ends[:, None] - torch.arange(most, 0, -1, device=flat.device)).clamp_(min=0).flatten()
        chosen = flat if not len(self._places) else flat[self._places]
        return chosen.view(batch, heads, -1, flat.shape[-1])
