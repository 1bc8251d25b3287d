"""Keep everything: the model as it is."""

from dataclasses import dataclass

from torch import Tensor

from kmem.runtime.policies.protocol import Tokens
from kmem.runtime.policies.unwatched import Unwatched


@dataclass(frozen=True, kw_only=True)
class Full(Unwatched):
    """Never fires."""

    delay: int = 0
    protect: int = 1
    decides: bool = False

    def scores(self, tokens: Tokens) -> Tensor:
        """All alike."""
        return tokens.real.float()
