"""Prompts on a CPU: heads with many slots take matrix products, heads with few or none the compiled pass, column by column.

Products of a few columns cost their overhead, not their arithmetic; with calibrated budgets most heads have no slots at all, and
read the bracket alone.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kmem.kernels.memory_attention import dense
from kmem.kernels.memory_attention.compiled import ALL_VISIBLE, attend
from kmem.kernels.memory_attention.context import context_attention, is_learning
from kmem.kernels.memory_attention.indexed import indexed
from kmem.kernels.memory_attention.layout import LayerMemory, Prepared, Segments

FEW_SLOTS = 32
"""A head's slots a memory up to which the compiled pass is faster."""
FEW_COLUMNS = 512
"""Columns that read anything up to which it is: it has one thread, matrix products have all."""


def prepare(memory: LayerMemory, segments: Segments) -> Prepared:
    """For segments of any width; whatever needs a gradient goes to `dense` as a whole."""
    return _Prompt(memory, segments)


class _Prompt:
    def __init__(self, memory: LayerMemory, segments: Segments) -> None:
        self._memory, self._segments = memory, segments
        columns = sum(last - first for first, last in zip(segments.first, segments.last, strict=True))
        few = [head for head, slots in enumerate(memory.budget) if slots <= FEW_SLOTS and columns <= FEW_COLUMNS]
        self._many = dense.Merging(memory, segments, [head for head in range(len(memory.budget)) if head not in few])
        self._few = indexed(memory, segments.resident, few) if few else None

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, context_mask: Tensor | None, *, scaling: float, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        if is_learning(query, key, value):
            whole = dense.prepare(self._memory, self._segments)
            return whole(query, key, value, context_mask, scaling=scaling, softcap=softcap)
        context, lse = context_attention(query, key, value, context_mask, scaling=scaling, softcap=softcap)
        output, mass = self._many.join(query, context, lse, scaling=scaling, softcap=softcap)
        if self._few is not None:
            batch, query_heads, length, dim = query.shape
            heads = key.shape[1]
            columns = (batch * length, heads, query_heads // heads)
            nothing = np.empty((columns[0], heads, 0, dim), dtype=output.numpy().dtype)
            noted = torch.zeros_like(mass)
            attend(
                query.to(output.dtype).transpose(1, 2).reshape(*columns, dim).numpy(),
                nothing,
                nothing,
                ALL_VISIBLE,
                *self._few,
                self._segment_of(batch, length),
                scaling,
                softcap or 0.0,
                lse.transpose(1, 2).reshape(columns).numpy(),
                output.view(*columns, dim).numpy(),
                noted.numpy(),
            )
            mass = mass + noted
        return output.to(query.dtype), mass

    def _segment_of(self, batch: int, length: int) -> NDArray[Any]:
        """[B·q] the segment of each column, −1 for none."""
        found = np.full((batch, length), -1)
        for index, (row, first, last) in enumerate(zip(self._segments.row, self._segments.first, self._segments.last, strict=True)):
            found[row, first:last] = index
        return found.reshape(-1)
