"""A policy as it is, of which is noted what it kept at its last firing."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from kmem.kernels.attention_columns import Rows
from kmem.runtime.policies import Policy, Tokens, Watch


@dataclass(eq=False)
class Noted:
    """kept: by layer, [H, end] which of the first `end` tokens stayed. Of one prompt at a time, and of policies that decide alone."""

    policy: Policy
    kept: dict[int, Tensor] = field(default_factory=dict)

    @property
    def delay(self) -> int:
        return self.policy.delay

    @property
    def protect(self) -> int:
        return self.policy.protect

    @property
    def decides(self) -> bool:
        return self.policy.decides

    @property
    def watch(self) -> Watch:
        return self.policy.watch

    def read(self, rows: Rows, known: Tensor | None, statistics: Tensor) -> tuple[Tensor, Tensor | None]:
        """As the policy does."""
        return self.policy.read(rows, known, statistics)

    def skip(self, statistics: Tensor, tokens: int) -> Tensor:
        """As the policy does."""
        return self.policy.skip(statistics, tokens)

    def scores(self, tokens: Tokens) -> Tensor:
        """The policy's."""
        found = self.policy.scores(tokens)
        stays = ((found >= 0) & tokens.real)[0].cpu()
        position = tokens.position[0].clamp(min=0).cpu()
        kept = torch.zeros(stays.shape[0], tokens.end, dtype=torch.int8)
        self.kept[tokens.layer] = kept.scatter_add(1, position, stays.to(torch.int8)).bool()
        return found
