"""What segments read beside the context, gathered into dense blocks for matrix products."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.kernels.memory_attention.layout import LayerMemory


@dataclass(frozen=True, kw_only=True, eq=False)
class Slab:
    """What the key-value heads `heads` read beside the context: keys transposed [C·h, D, K], values [C·h, K + 1, D + R] widened by
    indicators of each memory and by a row of zeros, the context's; bias [C·h, 1, K] with −∞ at empty slots.
    """

    heads: slice | list[int]
    key: Tensor
    value: Tensor
    bias: Tensor


def alike(budget: tuple[int, ...]) -> list[slice | list[int]]:
    """Heads whose budgets are within a factor of two of each other, so that padding to the largest at most doubles the work."""
    groups: list[list[int]] = []
    for head in sorted(range(len(budget)), key=lambda head: -budget[head]):
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
    chosen = list(range(len(memory.budget)))[heads] if isinstance(heads, slice) else heads
    widest = max(memory.budget[head] for head in chosen)
    wide = torch.promote_types(memory.bracket_key.dtype, torch.float32)
    bracket = [part[chosen].to(wide).expand(len(resident), -1, -1, -1) for part in (memory.bracket_key, memory.bracket_value)]
    seen = torch.ones(bracket[0].shape[:3], dtype=torch.bool, device=resident.device)
    indicators = 0
    keys, values = bracket
    if widest:
        indicators = resident.shape[1]
        index, within = _slot_index(memory, chosen, widest, resident.device)
        rows = resident.clamp(min=0)[:, None, :, None]  # [C, 1, R, 1], beside index [h, 1, m]
        own = [part[rows, index].flatten(2, 3).to(wide) for part in memory.slots.decoded()]  # [C, h, R·m, D]
        filled = memory.filled[rows, index] & within & (resident >= 0)[:, None, :, None]
        keys, values = (torch.cat(pair, dim=2) for pair in zip(bracket, own, strict=True))
        seen = torch.cat([seen, filled.flatten(2, 3)], dim=2)
    if not keys.shape[2]:
        return None
    unseen = ~seen[:, :, None]
    widened = values.new_zeros(*values.shape[:2], values.shape[2] + 1, values.shape[3] + indicators)
    widened[:, :, :-1, : values.shape[3]] = values.masked_fill(unseen.transpose(-1, -2), 0)
    if indicators:
        which = torch.eye(indicators, device=resident.device).repeat_interleave(widest, dim=0)  # [R·m, R]
        widened[:, :, -len(which) - 1 : -1, values.shape[3] :] = which.to(wide)
    return Slab(
        heads=heads,
        key=keys.masked_fill(unseen.transpose(-1, -2), 0).transpose(-1, -2).flatten(0, 1),  # empty slots may hold anything
        value=widened.flatten(0, 1),
        bias=keys.new_zeros(()).masked_fill(unseen, -torch.inf).flatten(0, 1),
    )


def _slot_index(memory: LayerMemory, heads: list[int], widest: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """[h, 1, m] slots of these heads within the layer, and which of them the head's budget has."""
    within = torch.arange(widest, device=device) < torch.tensor([memory.budget[head] for head in heads], device=device)[:, None]
    starts = torch.tensor([memory.head_starts[head] for head in heads], device=device)
    index = (starts[:, None] + torch.arange(widest, device=device)).where(within, 0)
    return index[:, None], within[:, None]
