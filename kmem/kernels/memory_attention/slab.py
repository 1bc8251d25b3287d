"""What segments read beside the context, gathered into dense blocks for matrix products."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from kmem.kernels.memory_attention.layout import LayerMemory


@dataclass(frozen=True, kw_only=True, eq=False)
class Slab:
    """What the key-value heads `heads` read beside the context: keys transposed [C·h, D, K], values [C·h, K + 1, D + R] widened by
    indicators of each memory and by a row of zeros, the context's; bias [C·h, 1, K] with −∞ at empty slots, None where there is none.
    """

    heads: slice | list[int]
    key: Tensor
    value: Tensor
    bias: Tensor | None


def alike(budget: tuple[int, ...], heads: Sequence[int]) -> list[slice | list[int]]:
    """Those of `heads` whose budgets are within a factor of two of each other: padding to the largest at most doubles the work."""
    groups: list[list[int]] = []
    for head in sorted(heads, key=lambda head: -budget[head]):
        if groups and 2 * budget[head] >= budget[groups[-1][0]]:
            groups[-1].append(head)
        else:
            groups.append([head])
    return [_as_slice(sorted(group)) for group in groups]


def _as_slice(heads: list[int]) -> slice | list[int]:
    """A slice where it does: indexing with one copies nothing."""
    return slice(heads[0], heads[-1] + 1) if heads[-1] - heads[0] + 1 == len(heads) else heads


def slab_of(memory: LayerMemory, resident: Tensor, heads: slice | list[int]) -> Slab | None:
    """None where there is nothing to read: no bracket, no slots."""
    chosen = tuple(range(len(memory.budget))[heads] if isinstance(heads, slice) else heads)
    count, memories = resident.shape
    wide = torch.promote_types(memory.bracket_key.dtype, torch.float32)
    keys, values = (part[heads].to(wide).expand(count, -1, -1, -1) for part in (memory.bracket_key, memory.bracket_value))
    bracket = keys.shape[2]
    budget = tuple(memory.budget[head] for head in chosen)
    bias = None
    if any(budget):
        index, within = _slot_index(budget, tuple(memory.head_starts[head] for head in chosen), resident.device)
        rows = resident.clamp(min=0)[:, None, :, None]  # [C, 1, R, 1], beside index [h, 1, m]
        own = [part[rows, index] for part in memory.slots.decoded()]  # [C, h, R, m, D]
        filled = memory.filled[rows, index] & within & (resident >= 0)[:, None, :, None]
        if not bool(filled.all()):
            own = [part.masked_fill(~filled[..., None], 0) for part in own]  # empty slots may hold anything
            seen = torch.nn.functional.pad(filled.flatten(2), (bracket, 0), value=True)
            bias = keys.new_zeros(()).masked_fill(~seen[:, :, None], -torch.inf).flatten(0, 1)
        keys, values = (torch.cat([shared, part.flatten(2, 3).to(wide)], dim=2) for shared, part in zip((keys, values), own, strict=True))
    if not keys.shape[2]:
        return None
    indicators = _indicators(bracket, memories if any(budget) else 0, max(budget), wide, resident.device)
    widened = torch.cat([torch.nn.functional.pad(values, (0, 0, 0, 1)), indicators.expand(*values.shape[:2], -1, -1)], dim=-1)
    return Slab(heads=heads, key=keys.transpose(-1, -2).flatten(0, 1), value=widened.flatten(0, 1), bias=bias)


@lru_cache
def _slot_index(budget: tuple[int, ...], starts: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """[h, 1, m] slots of these heads within the layer, and which of them the head's budget has."""
    each = torch.arange(max(budget), device=device)
    within = each < torch.tensor(budget, device=device)[:, None]
    index = (torch.tensor(starts, device=device)[:, None] + each).where(within, 0)
    return index[:, None], within[:, None]


@lru_cache
def _indicators(bracket: int, memories: int, widest: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[P + R·m + 1, R] which of the memories each slot belongs to: none of them is the bracket's, nor the context's."""
    which = torch.eye(memories, dtype=dtype, device=device).repeat_interleave(widest, dim=0)
    return torch.nn.functional.pad(which, (0, 0, bracket, 1))
