"""What a policy is: how often it is asked, what it wants to know of how tokens are read, and a score a token."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from kmem.kernels.attention_columns import Rows


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Which rows of attention a policy reads: those of the last `tokens` tokens before each firing, in multiples of `hop`, after
    `context` rows that were read before (0, or the hop). width: numbers it keeps a token and head.
    """

    tokens: int
    hop: int = 1
    context: int = 0
    width: int = 0


NOTHING = Watch(tokens=0)
"""For a policy that looks at no attention."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokens:
    """The cached tokens of one layer when a policy is asked about them, of b rows of a batch that have as many tokens each.

    In order of time along n. real [b, H, n] is False where a head has fewer tokens than another; those places come first.
    key [b, H, n, D] after RoPE; position [b, H, n] in the text, −1 where not real; statistics [b, H, n, width]. end: tokens read so far.
    layer: of the model's `layers`.
    """

    layer: int
    layers: int
    key: Tensor
    position: Tensor
    real: Tensor
    statistics: Tensor
    end: int
    budget: int | None


@runtime_checkable
class Policy(Protocol):
    """delay: tokens between two firings, 0 = it never fires. protect: newest tokens, and last ones of the prompt, that always stay.

    decides: tokens with a score below 0 go even without a budget; one that does not decide needs a budget, unless it never fires.
    """

    @property
    def delay(self) -> int: ...
    @property
    def protect(self) -> int: ...
    @property
    def decides(self) -> bool: ...
    @property
    def watch(self) -> Watch: ...

    def read(self, rows: Rows, known: Tensor | None, statistics: Tensor) -> tuple[Tensor, Tensor | None]:
        """Statistics [b, H, n, width] after these rows, and the log-sum-exp [b, Q, context] of the last ones.

        The first `context` rows were read before; `known` is their log-sum-exp [b, Q, context], None for that of the keys at hand.
        """
        ...

    def skip(self, statistics: Tensor, tokens: int) -> Tensor:
        """Statistics after so many tokens whose attention was not read."""
        ...

    def scores(self, tokens: Tokens) -> Tensor:
        """[b, H, n]: the higher, the sooner kept; ties go to the older token."""
        ...
