"""What segments read beside the context, gathered into dense blocks for matrix products."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from kmem.kernels.memory_attention.layout import LayerMemory


@dataclass(frozen=True, kw_only=True, eq=False)
class Slab:
    """What the key-value heads `heads` read beside the context, K = P + R·m with m the slots of the largest of their budgets.

    key, transposed [C·h, D, K], and value [C·h, K, D]: the bracket's first, then memory by memory; bias [C·h, 1, K] with −∞ at empty
    slots, None where there is none.
    """

    heads: slice | list[int]
    key: Tensor
    value: Tensor
    bias: Tensor | None
    bracket: int
    slots: int

    def mass(self, sums: Tensor, segments: int) -> Tensor:
        """[C, R] of probabilities [C·h, K] summed over columns: those on each memory, over all heads."""
        return sums[:, self.bracket :].view(segments, len(sums) // segments, -1, self.slots).sum(dim=(1, 3))


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


def slab_of(memory: LayerMemory, resident: Tensor, heads: slice | list[int], *, bracket: bool = True) -> Slab | None:
    """With or without the bracket; None where there is nothing to read then."""
    chosen = tuple(range(len(memory.budget))[heads] if isinstance(heads, slice) else heads)
    wide = torch.promote_types(memory.bracket_key.dtype, torch.float32)
    budget = tuple(memory.budget[head] for head in chosen)
    before = memory.bracket_key.shape[1] if bracket else 0
    blocks: list[list[Tensor]] = [[], []]
    bias = None
    if before:
        for block, part in zip(blocks, (memory.bracket_key, memory.bracket_value), strict=True):
            block.append(part[heads].to(wide).expand(len(resident), -1, -1, -1))
    if any(budget):
        index, within = _slot_index(budget, tuple(memory.head_starts[head] for head in chosen), resident.device)
        present = resident[:, None, :, None]
        rows = present.clamp(min=0)  # [C, 1, R, 1], beside index [h, 1, m]
        filled = (memory.filled[rows, index] & within).logical_and_(present >= 0)
        everywhere = bool(filled.all())
        if not everywhere:
            seen = torch.nn.functional.pad(filled.flatten(2), (before, 0), value=True)
            bias = torch.zeros((), dtype=wide, device=seen.device).masked_fill(~seen[:, :, None], -torch.inf).flatten(0, 1)
            empty = ~filled[..., None]
        for block, part in zip(blocks, memory.slots.decoded(), strict=True):
            own = part[rows, index].to(wide)  # [C, h, R, m, D]
            block.append((own if everywhere else own.masked_fill_(empty, 0)).flatten(2, 3))  # empty slots may hold anything
    if not blocks[0]:
        return None
    key, value = ((block[0] if len(block) == 1 else torch.cat(block, dim=2)).flatten(0, 1) for block in blocks)
    return Slab(heads=heads, key=key.transpose(-1, -2), value=value, bias=bias, bracket=before, slots=max(budget))


@lru_cache
def _slot_index(budget: tuple[int, ...], starts: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """[h, 1, m] slots of these heads within the layer, and which of them the head's budget has."""
    each = torch.arange(max(budget), device=device)
    within = each < torch.tensor(budget, device=device)[:, None]
    index = (torch.tensor(starts, device=device)[:, None] + each).where(within, 0)
    return index[:, None], within[:, None]
