"""Keep what queries like those seen are expected to attend to (Expected Attention, arXiv 2510.00636), without RoPE as Memory³'s rule.

With queries of mean μ and covariance Σ, the expected weight of a key is exp(μ·k/√D + kᵀΣk/2D); what it brings is in proportion to ‖v‖.
"""

import torch
from torch import Tensor

from kmem.encoder.select.view import LayerView


def expected(view: LayerView) -> Tensor:
    """softmax_j(μ·k_j/√D + k_jᵀΣk_j/2D) · ‖v_j‖, summed over the group's query heads; μ and Σ over the reference's own queries."""
    batch, heads, tokens, dim = view.key.shape
    query = view.query.reshape(batch, heads, -1, tokens, dim)
    real = view.valid[:, None, None, :, None].to(query.dtype)
    count = real.sum(dim=3, keepdim=True)
    mean = (query * real).sum(dim=3, keepdim=True) / count  # [B, H, G, 1, D]
    centred = (query - mean) * real
    covariance = centred.transpose(-1, -2) @ centred / count  # [B, H, G, D, D]
    key = view.key[:, :, None] * view.scaling
    logits = (key * mean).sum(-1) + ((key @ covariance) * key).sum(-1) / 2  # [B, H, G, T]
    weights = logits.masked_fill(~view.valid[:, None, None], float("-inf")).softmax(-1)
    brought: Tensor = torch.linalg.vector_norm(view.value.to(view.key.dtype), dim=-1)
    return weights.sum(dim=2) * brought
