"""The compiled path for generated tokens on a CPU: one query column a row, one pass over bracket, slots and context.

One token's attention is so little work that calling torch's operations one by one takes longer than computing them.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kmem.kernels.memory_attention import prompt
from kmem.kernels.memory_attention.compiled import ALL_VISIBLE, attend
from kmem.kernels.memory_attention.context import context_attention, is_learning
from kmem.kernels.memory_attention.indexed import indexed
from kmem.kernels.memory_attention.layout import LayerMemory, Prepared, Segments

FEW_KEYS = 4096
"""Context keys of all rows and heads up to which one thread is faster than waking torch's; more keep torch's kernel."""

_WIDE = (torch.float32, torch.float64)


def prepare(memory: LayerMemory, segments: Segments) -> Prepared:
    """For segments of one column each. Prompts that they turn out to stand in go to `prompt`, as does whatever needs a gradient."""
    return _Step(memory, segments)


class _Step:
    def __init__(self, memory: LayerMemory, segments: Segments) -> None:
        self._memory, self._segments = memory, segments
        self._beside = indexed(memory, segments.resident)
        self._mass_shape = tuple(segments.resident.shape)
        self._before: dict[tuple[int, ...], NDArray[Any]] = {}
        self._prompt: Prepared | None = None

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, context_mask: Tensor | None, *, scaling: float, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        batch, query_heads, length, dim = query.shape
        if length > 1 or is_learning(query, key, value):
            self._prompt = self._prompt or prompt.prepare(self._memory, self._segments)
            return self._prompt(query, key, value, context_mask, scaling=scaling, softcap=softcap)
        given, heads = query.dtype, key.shape[1]
        if given not in _WIDE or not given == key.dtype == value.dtype:  # under autocast they may differ
            wide = torch.promote_types(given, torch.float32)
            query, key, value = query.to(wide), key.to(wide), value.to(wide)
        grouped = (batch, heads, query_heads // heads)
        column = query.numpy().reshape(*grouped, dim)
        if batch * heads * key.shape[2] > FEW_KEYS:
            context, lse = context_attention(query, key, value, context_mask, scaling=scaling, softcap=softcap)
            output, seen = context.numpy().reshape(*grouped, dim), lse.contiguous().view(grouped).numpy()
            key, value, context_mask = key[:, :, :0], value[:, :, :0], None
        else:
            output, seen = np.empty_like(column), self._nothing(grouped, column.dtype)
        mass = np.zeros(self._mass_shape, dtype=output.dtype)
        attend(
            column,
            key.contiguous().numpy(),
            value.contiguous().numpy(),
            ALL_VISIBLE if context_mask is None else context_mask.expand(batch, 1, 1, -1).reshape(batch, -1).contiguous().numpy(),
            *self._beside,
            self._segment_of(batch),
            scaling,
            softcap or 0.0,
            seen,
            output,
            mass,
        )
        return torch.from_numpy(output).view(batch, 1, query_heads, dim).to(given), torch.from_numpy(mass)

    def _nothing(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """[B, H, G] log-sum-exp of having seen nothing."""
        if shape not in self._before:
            self._before[shape] = np.full(shape, -np.inf, dtype=dtype)
        return self._before[shape]

    def _segment_of(self, batch: int) -> NDArray[Any]:
        """[B] each row's segment, −1 for none."""
        if (batch,) not in self._before:
            rows = np.full(batch, -1)
            rows[list(self._segments.row)] = np.arange(len(self._segments))
            self._before[batch,] = rows
        return self._before[batch,]
