"""What a memory attention kernel is given: the resident memories of one layer, and which columns of which row read which of them."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from kmem.errors import ConfigError


class Slots(Protocol):
    """Keys and values of N resident memories in one layer, S_l slots each, as they are stored: key, value [N, S_l, ·]."""

    @property
    def key(self) -> Tensor: ...

    @property
    def value(self) -> Tensor: ...

    def decoded(self) -> tuple[Tensor, Tensor]:
        """Keys and values [N, S_l, D]."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class PlainSlots:
    """key, value: [N, S_l, D] numbers as they are; views into longer records will do."""

    key: Tensor
    value: Tensor

    def decoded(self) -> tuple[Tensor, Tensor]:
        return self.key, self.value


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerMemory:
    """One layer's resident memories and the bracket.

    budget: slots of each of the H key-value heads; a memory's S_l slots lie head by head.
    filled: [N, S_l] False where a chunk was too short for its slot.
    bracket_key, bracket_value: [H, P, D], visible at every head beside any memory.
    Raises ConfigError when the budget does not add up to S_l.
    """

    slots: Slots
    filled: Tensor
    budget: tuple[int, ...]
    bracket_key: Tensor
    bracket_value: Tensor

    def __post_init__(self) -> None:
        if sum(self.budget) != self.filled.shape[1]:
            raise ConfigError(f"The budget {self.budget} has {sum(self.budget)} slots, the layer {self.filled.shape[1]}.")

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What may be learnt."""
        return self.bracket_key, self.bracket_value, self.slots.key, self.slots.value

    @property
    def head_starts(self) -> tuple[int, ...]:
        """H + 1 numbers: head h has slots head_starts[h] to head_starts[h + 1] − 1."""
        return (0, *accumulate(self.budget))


@dataclass(frozen=True, kw_only=True, eq=False)
class Segments:
    """C runs of query columns, each reading memories of its own; columns in no segment read neither memories nor bracket.

    row, first, last: columns first[c] to last[c] − 1 of batch row row[c]; no two segments share a column, none is empty.
    resident: [C, R] int64 rows of the layer's N memories, the segment's own first, then −1; every segment has at least one.
    """

    row: tuple[int, ...]
    first: tuple[int, ...]
    last: tuple[int, ...]
    resident: Tensor

    def __len__(self) -> int:
        return len(self.row)


class Prepared(Protocol):
    """Attention over a fixed set of memories in one layer: what can be laid out beforehand has been."""

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, context_mask: Tensor | None, *, scaling: float, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        """One softmax over bracket, the segment's memories and the context (Memory³ Eq. 4).

        query [B, Q, q, D]; key, value [B, H, n, D]; context_mask [B, 1, q, n] boolean, True = visible, or None: the q queries are the
        last of the n tokens, and causal. A query that sees nothing at all gets finite numbers, not NaN.
        Returns output [B, q, Q, D] in the query's dtype, and mass [C, R] in float32 or wider: the probability on each of a segment's
        memories, summed over its columns and all query heads; 0 where there is no memory.
        """
        ...


Prepare = Callable[[LayerMemory, Segments], Prepared]
"""How a kernel presents itself."""


def causal_mask(length: int, keys: int, device: torch.device) -> Tensor:
    """[1, 1, q, n] what `context_mask=None` stands for."""
    last_seen = torch.arange(keys - length, keys, device=device)
    return (torch.arange(keys, device=device)[None] <= last_seen[:, None])[None, None]
