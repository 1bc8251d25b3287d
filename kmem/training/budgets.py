"""Budgets as real numbers: soft gates with a gradient, a fixed total, and the way back to whole tokens."""

import torch
from torch import Tensor

from kmem.profile import SPAN_TOKENS

_BISECTIONS = 60


def soft_gates(budgets: Tensor, temperature: float) -> Tensor:
    """[L, H] real budgets → [1, L, H, 128] gates: about 1 up to the budget's rank, falling to 0 within a few `temperature` ranks."""
    ranks = torch.arange(SPAN_TOKENS) + 0.5
    return torch.sigmoid((budgets[..., None] - ranks) / temperature)[None]


def project(budgets: Tensor, total: float) -> Tensor:
    """The nearest budgets between 0 and 128 that sum to `total`: all are moved by the same amount, then clipped."""
    low, high = -float(budgets.max()) - 1, float(SPAN_TOKENS - budgets.min()) + 1
    for _ in range(_BISECTIONS):
        shift = (low + high) / 2
        if float((budgets + shift).clamp(0, SPAN_TOKENS).sum()) > total:
            high = shift
        else:
            low = shift
    return (budgets + low).clamp(0, SPAN_TOKENS)


def whole(budgets: Tensor, total: int) -> tuple[tuple[int, ...], ...]:
    """Whole tokens that sum to `total`: rounded down, the largest remainders up."""
    budgets = project(budgets, total)
    floor = budgets.floor()
    missing = total - int(floor.sum())
    remainder = (budgets - floor).masked_fill(floor >= SPAN_TOKENS, -1).flatten()
    raised = floor.flatten()
    raised[remainder.argsort(descending=True, stable=True)[:missing]] += 1
    return tuple(tuple(int(tokens) for tokens in row) for row in raised.view_as(budgets))
