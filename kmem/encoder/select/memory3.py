"""Memory³'s own rule (§3.3): how much attention a token would get from the whole reference, without causal mask and without RoPE."""

import torch
from torch import Tensor

from kmem.encoder.select.view import LayerView


def _scores(view: LayerView) -> Tensor:
    """[B, H, G, T, T] logits q_i·k_j/√D; G query heads share a key-value head; padded keys get −inf."""
    batch, heads, tokens, dim = view.key.shape
    query = view.query.reshape(batch, heads, -1, tokens, dim)
    logits = torch.einsum("bhgid,bhjd->bhgij", query, view.key) * view.scaling
    return logits.masked_fill(~view.valid[:, None, None, None, :], float("-inf"))


def _sum_over_queries(weights: Tensor, valid: Tensor) -> Tensor:
    """Σ over query tokens i (padding left out) and over the query heads of the group: [B, H, G, T, T] → [B, H, T]."""
    return weights.masked_fill(~valid[:, None, None, :, None], 0).sum(dim=(2, 3))


def memory3(view: LayerView) -> Tensor:
    """w_j = Σ_i softmax_j(q_i·k_j/√D), the formula of the paper."""
    return _sum_over_queries(_scores(view).softmax(-1), view.valid)


def memory3_exp(view: LayerView) -> Tensor:
    """w_j = Σ_i exp(q_i·k_j/√D), what the paper ran.

    One maximum over all queries and keys of a key-value head is subtracted first: the ranking stays, the overflow goes.
    """
    logits = _scores(view)
    usable = logits.masked_fill(~view.valid[:, None, None, :, None], float("-inf"))
    return _sum_over_queries((logits - usable.amax(dim=(2, 3, 4), keepdim=True)).exp(), view.valid)
