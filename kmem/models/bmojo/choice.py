"""Choosing what a store holds: the top M of a set, which is the top M of (what was stored ∪ what is new)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kmem.models.bmojo.priority import EMPTY


def choose(stored: Tensor, entering: Tensor, bounds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """What stores of M tokens hold at each of K moments: its place [B, K, M] in cat(stored, entering), and its priority [B, K, M].

    stored: [B, M] priorities; entering: [B, n] priorities of tokens, of which the first bounds[k] have entered at moment k.
    """
    batch, size = stored.shape
    now, place = stored, torch.arange(size, device=stored.device).expand(batch, -1)
    places, priorities, at = [], [], 0
    for bound in bounds:
        if bound > at:
            fresh = torch.arange(size + at, size + bound, device=stored.device).expand(batch, -1)
            now, best = torch.cat([now, entering[:, at:bound]], dim=1).topk(size, dim=1)
            place = torch.cat([place, fresh], dim=1).gather(1, best)
            at = bound
        places.append(place)
        priorities.append(now)
    return torch.stack(places, dim=1), torch.stack(priorities, dim=1)


def keep_all(priority: Tensor) -> tuple[Tensor, Tensor]:
    """Of priorities [B, n] those not EMPTY, in their order: places [B, m] and priorities [B, m], m as many as the fullest row has."""
    filled = priority != EMPTY
    width = int(filled.sum(1).max()) if priority.numel() else 0
    place = (~filled).byte().argsort(dim=1, stable=True)[:, :width]
    return place, priority.gather(1, place)


def gather(part: Tensor, place: Tensor) -> Tensor:
    """Part [B, H, n, D] at places [B, …] → [B, H, …, D]; gradients flow to what was chosen."""
    flat = place.flatten(1)[:, None, :, None].expand(-1, part.shape[1], -1, part.shape[-1])
    return part.gather(2, flat).view(*part.shape[:2], *place.shape[1:], part.shape[-1])
