"""The reference: concatenate, mask, softmax. Every faster kernel must agree with it."""

import torch
from torch import Tensor


def memory_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    context_mask: Tensor,
    memory_key: Tensor,
    memory_value: Tensor,
    memory_mask: Tensor,
    *,
    scaling: float,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """One softmax over M memory slots and n context tokens.

    query [B, Q, q, D]; key, value [B, H, n, D]; context_mask [B, 1, q, n]; memory_key, memory_value [B, H, M, D];
    memory_mask [B, H, q, M]; masks are boolean, True = visible. A query that sees nothing at all gets finite numbers, not NaN.
    Returns output [B, q, Q, D] in the query's dtype and the probability on each slot, summed over the query heads of a group,
    [B, H, q, M] in float32 or wider.
    """
    batch, query_heads, length, dim = query.shape
    heads, slots = key.shape[1], memory_key.shape[2]
    wide = torch.promote_types(query.dtype, torch.float32)
    keys = torch.cat([memory_key, key], dim=2).to(wide)
    values = torch.cat([memory_value, value], dim=2).to(wide)
    visible = torch.cat([memory_mask, context_mask.expand(batch, heads, length, -1)], dim=-1)

    grouped = query.to(wide).view(batch, heads, query_heads // heads, length, dim)
    scores = grouped @ keys[:, :, None].transpose(-1, -2) * scaling  # [B, H, G, q, M+n]
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~visible[:, :, None], torch.finfo(wide).min)
    probabilities = scores.softmax(-1)
    output = (probabilities @ values[:, :, None]).view(batch, query_heads, length, dim)
    return output.transpose(1, 2).to(query.dtype).contiguous(), probabilities[..., :slots].sum(dim=2)
