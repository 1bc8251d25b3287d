"""Attention over the bracket and the context in torch's own kernel: for it, the bracket is P more tokens at the front."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from kmem.kernels.memory_attention.context import context_attention
from kmem.kernels.memory_attention.layout import LayerMemory, Segments, causal_mask


def bracketed_attention(
    memory: LayerMemory,
    segments: Segments,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    scaling: float,
    softcap: float | None,
) -> tuple[Tensor, Tensor]:
    """`context_attention` in which the segments' columns see the bracket, too: output [B, Q, q, D] and lse [B, Q, q].

    A prompt from its first token on gets P queries more, so that it stays plainly causal: the kernel then passes over what can't be seen,
    and no mask is made.
    """
    bracket, (batch, _, length, _) = memory.bracket_key.shape[1], query.shape
    if not bracket:
        return context_attention(query, key, value, mask, scaling=scaling, softcap=softcap)
    inside, everywhere = _inside(segments, batch, length)
    keys = torch.cat([memory.bracket_key.to(key.dtype).expand(batch, -1, -1, -1), key], dim=2)
    values = torch.cat([memory.bracket_value.to(value.dtype).expand(batch, -1, -1, -1), value], dim=2)
    if mask is None and length == key.shape[2] and everywhere:
        output, lse = context_attention(pad(query, (0, 0, bracket, 0)), keys, values, None, scaling=scaling, softcap=softcap)
        return output[:, :, bracket:], lse[:, :, bracket:]
    mask = causal_mask(length, key.shape[2], query.device) if mask is None else mask
    seen = torch.cat([inside[:, None, :, None].expand(-1, -1, -1, bracket), mask.expand(batch, -1, -1, -1)], dim=-1)
    return context_attention(query, keys, values, seen, scaling=scaling, softcap=softcap)


@lru_cache(maxsize=1)  # all layers of a forward pass have the same segments
def _inside(segments: Segments, batch: int, length: int) -> tuple[Tensor, bool]:
    """[B, q] whether a column is in a segment, and whether all are."""
    inside = torch.zeros(batch, length, dtype=torch.bool)
    for row, first, last in zip(segments.row, segments.first, segments.last, strict=True):
        inside[row, first:last] = True
    return inside, bool(inside.all())
