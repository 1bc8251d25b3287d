"""Which tokens stay at a firing."""

import torch
from torch import Tensor

from kmem.runtime.policies.protocol import Policy, Tokens


def kept(policy: Policy, tokens: Tokens, *, prompt: int, greediest: bool) -> Tensor:
    """[b, H, n] what stays of `tokens`, in a prompt that is `prompt` tokens long.

    Protected tokens stay whatever their score, and count in the budget. greediest: every head keeps as many as the one that wants to keep
    most, its own highest scores (the paper's code); a token may then survive below the threshold.
    """
    scores = policy.scores(tokens).float()
    wanted = tokens.real & (scores >= 0) if policy.decides else tokens.real
    position = tokens.position
    newest = position >= tokens.end - policy.protect
    ending = (position >= prompt - policy.protect) & (position < prompt)
    protected = tokens.real & (newest | ending)
    wanted = wanted | protected
    scores = scores.masked_fill(protected, torch.inf).masked_fill(~tokens.real, -torch.inf)
    most = scores.shape[-1] if tokens.budget is None else max(tokens.budget, int(protected.sum(-1).max()))
    counts = wanted.sum(-1).clamp(max=most)
    if greediest:
        counts = counts.max().expand_as(counts).minimum(tokens.real.sum(-1))
    elif not bool((counts < wanted.sum(-1)).any()):
        return wanted
    # Ranks, the oldest of equal scores first; what is wanted comes before what a greedier head makes room for.
    order = scores.argsort(dim=-1, descending=True, stable=True)
    order = order.gather(-1, wanted.gather(-1, order).to(torch.int8).argsort(dim=-1, descending=True, stable=True))
    ranks = torch.empty_like(order).scatter_(-1, order, torch.arange(order.shape[-1], device=order.device).expand_as(order))
    return ranks < counts[..., None]
