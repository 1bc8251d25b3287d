"""The fast path without a GPU: the context keeps torch's own kernel, the memories are two matrix products for all segments at once.

The context joins their softmax as one more slot: its score is its log-sum-exp, its value its output. Prompts lay heads of similar budgets
out together, so that a head without slots costs no more than the bracket. The values are widened by one column a memory: the second
product then gives the mass on each memory, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.kernels.memory_attention.context import context_attention
from kmem.kernels.memory_attention.layout import LayerMemory, Prepared, Segments

SCORE_BYTES = 64 << 20
"""About the largest matrix of scores at a time; a long prompt that reads many memories is taken in pieces."""
SHORT = 16
"""Segments of fewer columns lay all heads out together: padding costs less there than a second round of small operations."""


def prepare(memory: LayerMemory, segments: Segments) -> Prepared:
    """Gather what each segment reads, in float32 or wider."""
    return _Attention(memory, segments)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Slab:
    """What the key-value heads `heads` read beside the context: keys transposed [C·h, D, K], values [C·h, K, D + R] widened by indicators
    of each memory, bias [C·h, 1, K] with −∞ at empty slots.
    """

    heads: slice | list[int]
    key: Tensor
    value: Tensor
    bias: Tensor


class _Attention:
    def __init__(self, memory: LayerMemory, segments: Segments) -> None:
        self._segments = segments
        self._memories = segments.resident.shape[1]
        self._width = max(last - first for first, last in zip(segments.first, segments.last, strict=True))
        groups = _alike(memory.budget) if self._width >= SHORT else [slice(None)]
        slabs = [_slab(memory, segments.resident, heads) for heads in groups]
        self._slabs = [slab for slab in slabs if slab is not None]
        self._whole = len(slabs) == len(self._slabs) == 1
        self._places: dict[tuple[int, int], tuple[Tensor, Tensor] | None] = {}

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, context_mask: Tensor | None, *, scaling: float, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        batch, query_heads, length, _ = query.shape
        heads = key.shape[1]
        context, lse = context_attention(query, key, value, context_mask, scaling=scaling, softcap=softcap)
        if (batch, length) not in self._places:
            self._places[batch, length] = self._columns(batch, length)
        places = self._places[batch, length]
        parts = (self._split(part, places, heads) for part in (query.to(context.dtype), context, lse[..., None]))
        merged, mass = self._merge(*parts, scaling=scaling, softcap=softcap, valid=None if places is None else places[1])
        columns_first = merged.permute(0, 3, 1, 2, 4)
        if places is None:
            return columns_first.reshape(batch, length, query_heads, -1).to(query.dtype), mass
        output = context.transpose(1, 2).reshape(batch * length, query_heads, -1)
        columns, valid = places
        output = output.index_copy(0, columns[valid], columns_first.flatten(2, 3)[valid])
        return output.view(batch, length, query_heads, -1).to(query.dtype), mass

    def _merge(
        self, query: Tensor, context: Tensor, lse: Tensor, *, scaling: float, softcap: float | None, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """query, context [C, H, G, W, D], lse [C, H, G, W, 1] → the whole softmax's output, and mass [C, R] over valid [C, W] columns."""
        count, _, group, width, dim = query.shape
        mass = query.new_zeros(count, self._memories)
        output = None if self._whole else context.clone()
        for slab, columns in self._pieces(width, group, count):
            part = (slice(None), slab.heads, slice(None), columns)
            own, beside, sums = (each[part] for each in (query, context, lse))
            flat = own.reshape(len(slab.key), -1, dim)
            if softcap is None:
                scores = torch.baddbmm(slab.bias, flat, slab.key, alpha=scaling)
            else:
                scores = softcap * torch.tanh(flat @ slab.key * (scaling / softcap)) + slab.bias
            shares = torch.cat([scores, sums.reshape(len(slab.key), -1, 1)], dim=-1).softmax(-1)
            read = shares[..., :-1] @ slab.value  # [C·h, G·W, D + R]
            blended = torch.addcmul(read[..., :dim], beside.reshape(flat.shape), shares[..., -1:]).view(own.shape)
            if read.shape[-1] > dim:
                on_memories = read[..., dim:].view(*own.shape[:-1], -1)
                if valid is not None:
                    on_memories = on_memories * valid[:, None, None, columns, None]
                mass = mass + on_memories.sum(dim=(1, 2, 3))
            if output is None and own.shape[3] == width:
                return blended, mass
            output = torch.empty_like(context) if output is None else output
            output[part] = blended
        return context if output is None else output, mass

    def _pieces(self, width: int, group: int, count: int) -> Iterator[tuple[_Slab, slice]]:
        for slab in self._slabs:
            step = max(SHORT, SCORE_BYTES // (slab.key.element_size() * len(slab.key) * group * slab.key.shape[2]))
            for start in range(0, width, step):
                yield slab, slice(start, start + step)

    def _columns(self, batch: int, length: int) -> tuple[Tensor, Tensor] | None:
        """Columns [C, W] of the flattened rows and which of them are valid; None where segments of W columns cover all rows in order."""
        segments, width = self._segments, self._width
        starts = [row * length + first for row, first in zip(segments.row, segments.first, strict=True)]
        widths = [last - first for first, last in zip(segments.first, segments.last, strict=True)]
        if set(widths) == {width} and starts == list(range(0, batch * length, width)):
            return None
        device = segments.resident.device
        offsets = torch.arange(width, device=device)
        valid = offsets < torch.tensor(widths, device=device)[:, None]
        return torch.tensor(starts, device=device)[:, None] + offsets.where(valid, 0), valid

    def _split(self, part: Tensor, places: tuple[Tensor, Tensor] | None, heads: int) -> Tensor:
        """[B, Q, q, ·] → [C, H, G, W, ·]"""
        batch, query_heads, length, last = part.shape
        group = query_heads // heads
        if places is None and length == self._width:
            return part.reshape(batch, heads, group, length, last)
        rows = part.transpose(1, 2)
        if places is None:
            rows = rows.reshape(-1, self._width, heads, group, last)
        else:
            rows = rows.reshape(batch * length, heads, group, last)[places[0]]
        return rows.permute(0, 2, 3, 1, 4)


def _alike(budget: tuple[int, ...]) -> list[slice | list[int]]:
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


def _slab(memory: LayerMemory, resident: Tensor, heads: slice | list[int]) -> _Slab | None:
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
    widened = values.new_zeros(*values.shape[:3], values.shape[3] + indicators)
    widened[..., : values.shape[3]] = values
    if indicators:
        which = torch.eye(indicators, device=resident.device).repeat_interleave(widest, dim=0)  # [R·m, R]
        widened[:, :, -len(which) :, values.shape[3] :] = which.to(wide)
    unseen = ~seen[:, :, None]
    return _Slab(
        heads=heads,
        key=keys.masked_fill(unseen.transpose(-1, -2), 0).transpose(-1, -2).flatten(0, 1),  # empty slots may hold anything
        value=widened.masked_fill(unseen.transpose(-1, -2), 0).flatten(0, 1),
        bias=keys.new_zeros(()).masked_fill(unseen, -torch.inf).flatten(0, 1),
    )


def _slot_index(memory: LayerMemory, heads: list[int], widest: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """[h, 1, m] slots of these heads within the layer, and which of them the head's budget has."""
    within = torch.arange(widest, device=device) < torch.tensor([memory.budget[head] for head in heads], device=device)[:, None]
    starts = torch.tensor([memory.head_starts[head] for head in heads], device=device)
    index = (starts[:, None] + torch.arange(widest, device=device)).where(within, 0)
    return index[:, None], within[:, None]
