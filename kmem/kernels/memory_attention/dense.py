"""The fast path in torch's operations, for CPUs: the context keeps torch's own kernel, memories are two products for all segments at once.

The context joins their softmax as one more slot: its score is its log-sum-exp, its value its output. Heads of similar budgets are laid
out together, so that a head without slots costs no more than the bracket, and nothing where the context's part has read that.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from kmem.kernels.memory_attention.context import context_attention
from kmem.kernels.memory_attention.layout import LayerMemory, Prepared, Segments
from kmem.kernels.memory_attention.slab import Slab, alike, slab_of

SCORE_BYTES = 64 << 20
"""About the largest matrix of scores at a time; a long prompt that reads many memories is taken in pieces."""
LEAST_COLUMNS = 16
"""Of such a piece."""


def prepare(memory: LayerMemory, segments: Segments) -> Prepared:
    """Gather what each segment reads, in float32 or wider."""
    merging = Merging(memory, segments, range(len(memory.budget)))

    def attend(
        query: Tensor, key: Tensor, value: Tensor, context_mask: Tensor | None, *, scaling: float, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        context, lse = context_attention(query, key, value, context_mask, scaling=scaling, softcap=softcap)
        output, mass = merging.join(query, context, lse, scaling=scaling, softcap=softcap)
        return output.to(query.dtype), mass

    return attend


class Merging:
    """Joins what some key-value heads read to attention over the context, which has read the bracket where `bracket` is False."""

    def __init__(self, memory: LayerMemory, segments: Segments, heads: Sequence[int], *, bracket: bool = True) -> None:
        self._segments, self._heads = segments, len(memory.budget)
        self._memories = segments.resident.shape[1]
        self._width = max(last - first for first, last in zip(segments.first, segments.last, strict=True))
        groups = alike(memory.budget, heads)
        slabs = [slab_of(memory, segments.resident, group, bracket=bracket) for group in groups]
        self._slabs = [slab for slab in slabs if slab is not None]
        self._missing = len(self._slabs) < len(slabs) or len(heads) < self._heads
        self._places: dict[tuple[int, int], tuple[Tensor, Tensor] | None] = {}

    def join(self, query: Tensor, context: Tensor, lse: Tensor, *, scaling: float, softcap: float | None) -> tuple[Tensor, Tensor]:
        """query, context [B, Q, q, D], lse [B, Q, q] → output [B, q, Q, D] in the context's dtype, and mass [C, R]."""
        batch, query_heads, length, _ = query.shape
        heads = self._heads
        if not self._slabs:
            return context.transpose(1, 2).contiguous(), context.new_zeros(self._segments.resident.shape)
        if (batch, length) not in self._places:
            self._places[batch, length] = self._columns(batch, length)
        places = self._places[batch, length]
        parts = (self._split(part, places, heads) for part in (query.to(context.dtype), context, lse[..., None]))
        merged, mass = self._merge(*parts, scaling=scaling, softcap=softcap, valid=None if places is None else places[1])
        if places is None:
            return merged.view(batch, length, query_heads, -1), mass
        output = context.transpose(1, 2).reshape(batch * length, query_heads, -1)
        columns, valid = places
        output = output.index_copy(0, columns[valid], merged.flatten(2, 3)[valid])
        return output.view(batch, length, query_heads, -1), mass

    def _merge(
        self, query: Tensor, context: Tensor, lse: Tensor, *, scaling: float, softcap: float | None, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """query, context [C, H, G, W, D], lse [C, H, G, W, 1] → output [C, W, H, G, D], and mass [C, R] over valid [C, W] columns."""
        count, _, group, width, _ = query.shape
        mass = query.new_zeros(count, self._memories)
        columns_first = context.new_empty(count, width, *context.shape[1:3], context.shape[-1])
        output = columns_first.permute(0, 2, 3, 1, 4)
        if self._missing:
            output.copy_(context)
        for slab, columns in self._pieces(width, group):
            part = (slice(None), slab.heads, slice(None), columns)
            shape = query[part].shape
            own, beside, sums = (each[part].reshape(len(slab.key), -1, each.shape[-1]) for each in (query, context, lse))
            blended, shares = _blend(slab, own, beside, sums, scaling=scaling, softcap=softcap)
            _put(output, slab.heads, columns, blended.view(shape))
            if slab.slots:
                counted = None if valid is None else valid[:, None, None, columns].expand(shape[:-1]).reshape(len(own), 1, -1)
                summed = shares.sum(1) if counted is None else torch.bmm(counted.to(shares.dtype), shares)[:, 0]
                mass = mass + slab.mass(summed, count)
        return columns_first, mass

    def _pieces(self, width: int, group: int) -> Iterator[tuple[Slab, slice]]:
        for slab in self._slabs:
            step = max(LEAST_COLUMNS, SCORE_BYTES // (slab.key.element_size() * len(slab.key) * group * slab.key.shape[2]))
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


def _put(output: Tensor, heads: slice | list[int], columns: slice, blended: Tensor) -> None:
    """Into output [C, H, G, W, D]. A list of heads goes in one by one: torch 2.13 takes a list behind a slice for a change of a leaf, and
    refuses to learn through it.
    """
    if isinstance(heads, slice):
        output[:, heads, :, columns] = blended
        return
    for place, head in enumerate(heads):
        output[:, head, :, columns] = blended[:, place]


def _blend(slab: Slab, query: Tensor, context: Tensor, lse: Tensor, *, scaling: float, softcap: float | None) -> tuple[Tensor, Tensor]:
    """query, context [C·h, n, D], lse [C·h, n, 1] → output [C·h, n, D] and probabilities [C·h, n, K]."""
    if softcap is None:
        bias, kept = (query.new_zeros(()), 0) if slab.bias is None else (slab.bias, 1)
        scores = torch.baddbmm(bias, query, slab.key, beta=kept, alpha=scaling)
    else:
        scores = softcap * torch.tanh(query @ slab.key * (scaling / softcap))
        scores = scores if slab.bias is None else scores + slab.bias
    shares = torch.cat([scores, lse], dim=-1).softmax(-1)
    beside, on_context = shares[..., :-1], shares[..., -1:]
    return torch.addcmul(torch.bmm(beside, slab.value), context, on_context), beside
