"""Undo a model's own rotary embedding, whatever its convention (half or interleaved, partial, scaled)."""

import sys

import torch
from torch import Tensor, nn

from kmem.errors import UnsupportedModelError


def unrotate(module: nn.Module, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Queries [B, Q, T, D] and keys [B, H, T, D] as they were before RoPE, in float32 or wider.

    The model's `apply_rotary_pos_emb` is linear in q and k, so it is its own inverse with cos/r² and −sin/r², r² = cos² + sin²
    (r is YaRN's attention scaling, and takes up the rounding of low-precision cos and sin).
    Raises UnsupportedModelError when the model's file defines no such function.
    """
    modeling = type(module).__module__
    apply = getattr(sys.modules[modeling], "apply_rotary_pos_emb", None)
    if apply is None:
        raise UnsupportedModelError(f"{modeling} defines no apply_rotary_pos_emb, so keys can't be rotated back for token selection.")
    wide = torch.promote_types(query.dtype, torch.float32)
    query, key, cos, sin = (tensor.to(wide) for tensor in (query, key, cos, sin))
    squared_scale = cos.square() + sin.square()
    turned = cos.shape[-1]  # partial rotary leaves the rest of a head as it is
    plain_query, plain_key = apply(query[..., :turned], key[..., :turned], cos / squared_scale, -sin / squared_scale)
    return torch.cat([plain_query, query[..., turned:]], dim=-1), torch.cat([plain_key, key[..., turned:]], dim=-1)
