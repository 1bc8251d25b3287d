"""Keep the newest tokens, and the first few of the text, which models attend to whatever they are (StreamingLLM, arXiv 2309.17453)."""

from dataclasses import dataclass

from torch import Tensor

from kmem.runtime.policies.budgeted import Budgeted
from kmem.runtime.policies.protocol import Tokens
from kmem.runtime.policies.unwatched import Unwatched


@dataclass(frozen=True, kw_only=True)
class Recency(Budgeted, Unwatched):
    """sinks: first tokens that stay; with 0 it is a plain window, which models that were trained without one do not survive."""

    sinks: int = 4

    def scores(self, tokens: Tokens) -> Tensor:
        """The position, above all others the sinks'."""
        return tokens.position.float().masked_fill(tokens.position < self.sinks, float(tokens.end))
