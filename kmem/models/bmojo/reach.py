"""Stored keys at distances that training has shown: what is older than a reach stands where the reach ends."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kmem.models.bmojo.priority import positions
from kmem.models.bmojo.rope import RotaryEmbedding, rotate


class Reach(NamedTuple):
    """tokens: before a chunk's first, where a stored key stands at the farthest."""

    tokens: int
    rotary: RotaryEmbedding

    def placed(self, key: Tensor, priority: Tensor, firsts: Sequence[int]) -> Tensor:
        """Stored keys [B, H, K, M, D] of priority [B, K, M], rotated to their own positions, as chunks that begin at `firsts` read them."""
        if firsts[-1] <= self.tokens or not self.rotary.dim:
            return key
        ends = torch.tensor(firsts, device=key.device)[:, None] - self.tokens
        beyond = (ends - positions(priority)).clamp(min=0).flatten(1)
        return torch.unflatten(rotate(key.flatten(2, 3), *self.rotary(key, beyond)), 2, priority.shape[1:])
