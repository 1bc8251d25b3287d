"""Memories in RAM: what an encoder writes, a bank stores, and a model reads."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.errors import ConfigError
from kmem.identity import Identity
from kmem.profile import Profile

EMPTY_SLOT = 255
"""`slot_position` of a slot that the chunk was too short to fill."""
UNREAD_POSITION = 254
"""`slot_position` of a slot that keeps a token, where nobody asked which."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MemorySpec:
    """What all memories of a bank share.

    bracket: [L, 2, H, P, D] keys (after RoPE) and values of the constant prefix and suffix tokens at every layer and head.
    bracket_tokens: P token ids of prefix, then suffix; empty where they are not known.
    """

    profile: Profile
    identity: Identity
    bracket: Tensor
    head_dim: int
    bracket_tokens: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Memories:
    """N memories of one spec.

    kv: [N, 2, S, D] keys after RoPE and values, zero in empty slots.
    slot_position: [N, S] uint8, token of the chunk that each slot keeps, EMPTY_SLOT where it keeps none;
        UNREAD_POSITION for those of a bank read without positions.
    lengths: [N] int64, tokens of each chunk (1 to 128).
    ids: N ids, stable across banks.
    Raises ConfigError when the shapes disagree.
    """

    kv: Tensor
    slot_position: Tensor
    lengths: Tensor
    ids: tuple[int, ...]
    spec: MemorySpec

    def __post_init__(self) -> None:
        count, slots = len(self.ids), self.spec.profile.slots
        expected = (count, 2, slots, self.spec.head_dim)
        if tuple(self.kv.shape) != expected:
            raise ConfigError(f"kv has shape {tuple(self.kv.shape)}, but {count} memories of this profile have {expected}.")
        if tuple(self.slot_position.shape) != (count, slots) or tuple(self.lengths.shape) != (count,):
            raise ConfigError(
                f"slot_position {tuple(self.slot_position.shape)} and lengths {tuple(self.lengths.shape)} "
                f"must have shapes {(count, slots)} and {(count,)}."
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def filled(self) -> Tensor:
        """[N, S] whether a slot keeps a token."""
        return self.slot_position != EMPTY_SLOT

    def take(self, rows: Sequence[int]) -> "Memories":
        """The memories at these rows, in this order."""
        index = torch.as_tensor(list(rows), dtype=torch.long)
        return Memories(
            kv=self.kv[index],
            slot_position=self.slot_position[index],
            lengths=self.lengths[index],
            ids=tuple(self.ids[row] for row in rows),
            spec=self.spec,
        )
