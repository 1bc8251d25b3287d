"""Keep the heavy hitters: the tokens that got most attention while the reference was read (H2O, arXiv 2306.14048)."""

import torch
from torch import Tensor

from kmem.encoder.select.view import LayerView


def h2o(view: LayerView) -> Tensor:
    """Σ_{i ≥ j} softmax_{j ≤ i}(q_i·k_j/√D), causal and after RoPE, over reference tokens alone, summed over the group's query heads."""
    batch, heads, tokens, dim = view.rotated_key.shape
    query = view.rotated_query.to(view.query.dtype).reshape(batch, heads, -1, tokens, dim)
    logits = torch.einsum("bhgid,bhjd->bhgij", query, view.rotated_key.to(view.query.dtype)) * view.scaling
    causal = torch.ones(tokens, tokens, dtype=torch.bool, device=logits.device).tril()
    weights = logits.masked_fill(~causal, float("-inf")).softmax(-1)
    return weights.masked_fill(~view.valid[:, None, None, :, None], 0).sum(dim=(2, 3))
