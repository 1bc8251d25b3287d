"""Keep the tokens with the smallest keys: a small norm goes with much attention (Devoto et al., arXiv 2406.11430)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.runtime.policies.budgeted import Budgeted
from kmem.runtime.policies.protocol import Tokens
from kmem.runtime.policies.unwatched import Unwatched


@dataclass(frozen=True, kw_only=True)
class L2(Budgeted, Unwatched):
    """On every layer; its authors are said to spare the first two, which would make a budget mean another size here."""

    def scores(self, tokens: Tokens) -> Tensor:
        """−‖k‖."""
        norm: Tensor = torch.linalg.vector_norm(tokens.key.float(), dim=-1)
        return -norm
