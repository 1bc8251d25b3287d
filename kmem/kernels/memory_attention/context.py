"""Attention over the context alone, with the log-sum-exp that lets memories join afterwards."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from kmem.kernels.memory_attention.layout import causal_mask


def context_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, scaling: float, softcap: float | None
) -> tuple[Tensor, Tensor]:
    """Output [B, Q, q, D] and lse [B, Q, q], the log of the sum of exponentials of its scores, both in float32 or wider.

    Arguments as `layout.Prepared`'s. Where nothing is visible the output is finite and lse −∞. On a CPU this is torch's own flash kernel,
    which alone returns both; with a softcap, on another device, or where the kernel does not give what it should, plain matrix products.
    bfloat16 is widened first: the kernel rounds probabilities and outputs to it, which costs 3·10⁻³, and is slower at short queries.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    query, key, value = query.to(wide), key.to(wide), value.to(wide)
    # The kernel has no gradient for lse, and without keys it ends the process.
    suits = query.device.type == "cpu" and softcap is None and not is_learning(query, key, value) and key.shape[2] > 0
    fused = _flash() if suits else None
    if fused is None:
        return _plain(query, key, value, mask, scaling=scaling, softcap=softcap)
    batch, query_heads, length, dim = query.shape
    if length == 1:  # the queries of a group are as good as queries of one head, and each key is read once
        folded = query.reshape(batch, key.shape[1], -1, dim)
        output, lse = fused(folded, key, value, 0.0, False, attn_mask=_additive(mask, query), scale=scaling)
        output, lse = output.reshape(batch, query_heads, 1, -1), lse.reshape(batch, query_heads, 1)
    elif mask is None and length == key.shape[2]:
        return fused(query, key, value, 0.0, True, scale=scaling)  # type: ignore[no-any-return]
    else:
        mask = causal_mask(length, key.shape[2], query.device) if mask is None else mask
        output, lse = fused(query, key, value, 0.0, False, attn_mask=_additive(mask, query), scale=scaling)
    if mask is not None:  # the kernel gives 0 where nothing is visible
        lse = lse.masked_fill(~mask.any(-1), -torch.inf)
    return output, lse


def is_learning(*tensors: Tensor) -> bool:
    """Whether a gradient will be asked for."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _plain(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, scaling: float, softcap: float | None
) -> tuple[Tensor, Tensor]:
    batch, query_heads, length, dim = query.shape
    heads, keys = key.shape[1], key.shape[2]
    scores = query.reshape(batch, heads, query_heads // heads * length, dim) @ key.transpose(-1, -2) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    visible = causal_mask(length, keys, query.device) if mask is None else mask
    scores = scores.view(batch, query_heads, length, keys).masked_fill(~visible, -torch.inf)
    lse = scores.logsumexp(-1)
    probabilities = (scores - lse[..., None].nan_to_num(neginf=0.0)).exp()
    output = probabilities.view(batch, heads, query_heads // heads * length, keys) @ value
    return output.view(batch, query_heads, length, -1), lse


def _additive(mask: Tensor | None, query: Tensor) -> Tensor | None:
    if mask is None:
        return None
    return query.new_zeros(()).masked_fill(~mask, -torch.inf)


@cache
def _flash() -> Any:
    """Torch's private CPU flash kernel, if this version has it and it still gives outputs and lse with grouped heads; else None."""
    kernel = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    if kernel is None:
        return None
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, 3, 8, generator=generator) for heads in (4, 2, 2))
    mask = torch.tensor([[True, False, False], [True, True, False], [False, True, True]])[None, None]
    expected = _plain(query, key, value, mask, scaling=0.5, softcap=None)
    try:
        found = kernel(query, key, value, 0.0, False, attn_mask=_additive(mask, query), scale=0.5)
        alike = all(torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5) for ours, theirs in zip(expected, found, strict=True))
    except (RuntimeError, TypeError, ValueError):
        return None
    return kernel if alike else None
