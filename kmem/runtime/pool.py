"""Memories resident on the model's device, laid out layer by layer for attention."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.memories import Memories, MemorySpec


@dataclass(frozen=True, eq=False)
class LayerSlots:
    """One layer of P resident memories, heads padded to the largest budget m: key, value [P, H, m, D]; filled [P, H, m]."""

    key: Tensor
    value: Tensor
    filled: Tensor


class Pool:
    """Holds the memories that the current spans read; row p of every tensor is memory `ids[p]`."""

    def __init__(self, spec: MemorySpec, *, device: torch.device, dtype: torch.dtype) -> None:
        self.spec, self.device, self.dtype = spec, device, dtype
        self.bracket = spec.bracket.to(device=device, dtype=dtype)  # [L, 2, H, P, D]
        self._slot_index = _padded_slot_index(spec).to(device)  # [L, H, m]
        self.ids: tuple[int, ...] = ()
        self._kv = torch.empty(0, 2, spec.profile.slots, spec.head_dim, device=device, dtype=dtype)
        self._filled = torch.empty(0, spec.profile.slots, device=device, dtype=torch.bool)
        self._layers: dict[int, LayerSlots] = {}

    def missing(self, ids: Sequence[int]) -> list[int]:
        """The ids that are not resident."""
        resident = set(self.ids)
        return [memory_id for memory_id in ids if memory_id not in resident]

    def replace(self, ids: Sequence[int], loaded: Memories | None) -> None:
        """Make exactly `ids` resident: those already here stay, the others come from `loaded`, the rest are dropped."""
        row_of = {memory_id: row for row, memory_id in enumerate(self.ids)}
        kv, filled = self._kv, self._filled
        if loaded is not None:
            row_of |= {memory_id: len(self.ids) + row for row, memory_id in enumerate(loaded.ids)}
            kv = torch.cat([kv, loaded.kv.to(device=self.device, dtype=self.dtype)])
            filled = torch.cat([filled, loaded.filled.to(self.device)])
        rows = torch.tensor([row_of[memory_id] for memory_id in ids], dtype=torch.long, device=self.device)
        self._kv, self._filled, self.ids, self._layers = kv[rows], filled[rows], tuple(ids), {}

    def layer(self, index: int) -> LayerSlots:
        """The resident memories of one layer."""
        if index not in self._layers:
            slots = self._slot_index[index]
            slots = slots[:, : max(self.spec.profile.budget[index])]
            absent = slots < 0
            picked = slots.clamp(min=0)
            self._layers[index] = LayerSlots(
                key=self._kv[:, 0, picked], value=self._kv[:, 1, picked], filled=self._filled[:, picked] & ~absent
            )
        return self._layers[index]


def _padded_slot_index(spec: MemorySpec) -> Tensor:
    """[L, H, m] index of each head's slots in a record, −1 where the head has fewer than m."""
    budget = spec.profile.budget
    widest = max(max(row) for row in budget)
    index = torch.full((len(budget), len(budget[0]), widest), -1, dtype=torch.long)
    start = 0
    for layer, row in enumerate(budget):
        for head, tokens in enumerate(row):
            index[layer, head, :tokens] = torch.arange(start, start + tokens)
            start += tokens
    return index
