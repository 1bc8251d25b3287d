"""Search budgets by gradient: real-valued budgets under soft gates, their total lowered from half of everything to what may be stored.

Budgets interact (DESIGN §3), so all heads move at once. A step's gradient says what one more token would be worth to each head, also to
heads that keep none; its square root is followed, because one head is worth ten times the next and would drown the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from kmem.arguments import MOST
from kmem.training.budgets import project, soft_gates
from kmem.training.numbers import count, positive, table
from kmem.training.objective import Batch, loss_of
from kmem.training.ranked import RankedMemories

MOMENTUM = 0.95
LOWERED = 0.6
"""Part of the steps in which the total is lowered; in the rest it stays."""
TEMPERATURE = (8.0, 2.0)
STRIDE = (6.0, 0.5)
"""Ranks over which a gate closes, and tokens an average head moves a step, at the first and at the last step."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """Where a search stands: real budgets [L, H], their momentum, and the steps made on the way from total `start` to `target`."""

    budgets: Tensor
    momentum: Tensor
    start: float
    target: int
    step: int = 0

    @property
    def found(self) -> Tensor:
        """[L, H] the budgets, each between 0 and 128, that sum to the target: a step may lead out of those bounds."""
        return project(self.budgets, self.target)

    @classmethod
    def begin(cls, budgets: Tensor, target: int) -> "Search":
        return cls(budgets=budgets, momentum=torch.zeros_like(budgets), start=float(budgets.sum()), target=target)

    def to_dict(self) -> dict[str, Any]:
        return {
            "budgets": self.budgets.tolist(),
            "momentum": self.momentum.tolist(),
            "start": self.start,
            "target": self.target,
            "step": self.step,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, shape: tuple[int, int]) -> "Search":
        """Raises KeyError for what is missing, ValueError or TypeError for what has another type or shape [L, H]."""
        return cls(
            budgets=torch.tensor(table(data["budgets"], "budgets", shape)),
            momentum=torch.tensor(table(data["momentum"], "momentum", shape)),
            start=positive(data["start"], "start"),
            target=count(data["target"], "target", most=MOST),
            step=count(data["step"], "step", most=MOST),
        )

    def advanced(self, model: PreTrainedModel, memories: RankedMemories, batch: Batch, *, steps: int) -> tuple["Search", float]:
        """One step of `steps` → where it leads, and the loss before it."""
        done = self.step / steps
        lowered = min(1.0, done / LOWERED)
        total = self.start * (self.target / self.start) ** lowered
        budgets = project(self.budgets, total).requires_grad_()
        loss = loss_of(model, memories, batch, soft_gates(budgets, _between(TEMPERATURE, lowered)))
        (gradient,) = torch.autograd.grad(loss, budgets)
        momentum = MOMENTUM * self.momentum + (1 - MOMENTUM) * gradient
        followed = -momentum.sign() * (momentum.abs() / momentum.pow(2).mean().sqrt().clamp(min=1e-12)).sqrt()
        moved = budgets.detach() + _between(STRIDE, done) * followed
        return replace(self, budgets=moved, momentum=momentum, step=self.step + 1), float(loss.detach())


def _between(ends: tuple[float, float], part: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * part
