"""Keep the heavy hitters, the tokens that got most attention so far, and as many of the newest (H2O, arXiv 2306.14048)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.kernels.attention_columns import Rows, column_sums
from kmem.runtime.policies.budgeted import Budgeted
from kmem.runtime.policies.protocol import Tokens, Watch


@dataclass(frozen=True, kw_only=True)
class H2O(Budgeted):
    """Half of the budget for the newest tokens, half for those with the largest sum over all queries since they came.

    It fires every `delay` tokens, where the original drops one token a step: what one firing drops is what as many steps would have
    found, but for what the steps between changed in the sums.
    """

    @property
    def watch(self) -> Watch:
        return Watch(tokens=self.delay, width=1)

    def read(self, rows: Rows, known: Tensor | None, statistics: Tensor) -> tuple[Tensor, Tensor | None]:
        """Adds the rows up."""
        return statistics + column_sums(rows)[..., None].to(statistics), None

    def skip(self, statistics: Tensor, tokens: int) -> Tensor:
        """Nothing changes; it never skips any."""
        return statistics

    def scores(self, tokens: Tokens) -> Tensor:
        """The sum; the newest half of the budget above all."""
        newest = tokens.position >= tokens.end - (tokens.budget or 0) // 2
        return tokens.statistics[..., 0].masked_fill(newest, torch.inf)
