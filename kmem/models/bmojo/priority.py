"""Innovation and position as one whole number, so that which tokens are stored never depends on how the input was cut.

Errors are counted in steps of 1/1024: numbers that differ by rounding alone (a chunk's matrix product sums in another order) are ties,
and of a tie the older token is stored. So the top M of a set is one set, and that of a union follows from those of its parts.
"""

import torch
from torch import Tensor

STEPS = 1024
EMPTY = -1
"""Of a free slot, or a token that is never stored."""
_POSITIONS = 2**32 - 1


def by_error(error: Tensor, first: int, threshold: float | None) -> Tensor:
    """Error [B, T] of the tokens from position `first` on → priorities [B, T] int64; EMPTY for errors not above the threshold."""
    steps = (error * STEPS).round().clamp(0, 2**30).long()
    ranked = _join(steps, first)
    return ranked if threshold is None else ranked.masked_fill(steps <= threshold * STEPS, EMPTY)


def by_age(batch: int, length: int, first: int, device: torch.device) -> Tensor:
    """Priorities [B, T] of a store that keeps the oldest tokens."""
    return _join(torch.zeros(batch, length, dtype=torch.int64, device=device), first)


def by_chance(batch: int, length: int, first: int, layer: int, device: torch.device) -> Tensor:
    """Priorities [B, T] that are as good as random: a hash of position and layer, the same in every run."""
    mixed = torch.arange(first + 1, first + length + 1, device=device) + 1_000_003 * (layer + 1)
    for _ in range(3):
        mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return _join((mixed >> 12).expand(batch, -1), first)


def _join(steps: Tensor, first: int) -> Tensor:
    places = torch.arange(first, first + steps.shape[1], device=steps.device)
    return (steps << 32) | (_POSITIONS - places)


def positions(priority: Tensor) -> Tensor:
    """Where the tokens stood, from their priorities; meaningless for EMPTY."""
    return _POSITIONS - (priority & _POSITIONS)
