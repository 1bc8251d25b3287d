"""Which tokens a layer would rather store: by innovation, or as the controls do."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.models.bmojo.innovation import average_before, prediction_error, read_out_before
from kmem.models.bmojo.priority import by_age, by_chance, by_error
from kmem.models.bmojo.state import State

RULES = ("average", "state", "random", "oldest")


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """rule: one of RULES, the first two by prediction error, of which only errors above `threshold` are ever stored."""

    rule: str
    layer: int
    average_tokens: int
    threshold: float | None

    @torch.no_grad()
    def rank(self, hidden: Tensor, read_out: Tensor | None, state: State, past: int) -> tuple[Tensor, State]:
        """Priorities [B, T] of hidden [B, T, C], the tokens from position `past` on, and what the next call needs to know of them."""
        batch, length = hidden.shape[:2]
        if self.rule == "random":
            return by_chance(batch, length, past, self.layer, hidden.device), {}
        if self.rule == "oldest":
            return by_age(batch, length, past, hidden.device), {}
        if self.rule == "state":
            assert read_out is not None
            predicted, known = read_out_before(read_out, state.get("last_read_out"))
            after = {"last_read_out": known}
        else:
            predicted, known = average_before(hidden, state.get("recent"), self.average_tokens)
            after = {"recent": known}
        return by_error(prediction_error(hidden, predicted), past, self.threshold), after
