"""Memory³'s own rule (§3.3): how much attention a token would get from the whole reference, without causal mask and without RoPE."""

from torch import Tensor

from kmem.encoder.select.view import LayerView


def _logits(view: LayerView) -> Tensor:
    """[B, H, G·T, T] logits q_i·k_j/√D; G query heads share a key-value head; padded keys get −inf."""
    batch, heads, _, dim = view.key.shape
    query = (view.query * view.scaling).reshape(batch, heads, -1, dim)
    return (query @ view.key.transpose(-1, -2)).masked_fill_(~view.valid[:, None, None], float("-inf"))


def _real_queries(view: LayerView) -> Tensor:
    """[B, 1, 1, G·T], the same order of queries: False where a query is padding."""
    groups = view.query.shape[1] // view.key.shape[1]
    return view.valid.repeat(1, groups)[:, None, None]


def memory3(view: LayerView) -> Tensor:
    """w_j = Σ_i softmax_j(q_i·k_j/√D), the formula of the paper; Σ over the query heads of the group, too."""
    weights = _logits(view).softmax(-1)
    return (_real_queries(view).to(weights.dtype) @ weights).squeeze(2)


def memory3_exp(view: LayerView) -> Tensor:
    """w_j = Σ_i exp(q_i·k_j/√D), what the paper ran; Σ over the query heads of the group, too.

    One maximum over all queries and keys of a key-value head is subtracted first: the ranking stays, the overflow goes.
    """
    logits = _logits(view).masked_fill_(~_real_queries(view).transpose(-1, -2), float("-inf"))
    return (logits - logits.amax(dim=(2, 3), keepdim=True)).exp().sum(dim=2)
