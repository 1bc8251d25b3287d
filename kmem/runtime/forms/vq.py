"""Codes of the vector quantiser as they are stored, beside the table that they are codes of."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from kmem.kernels.memory_attention import Slots
from kmem.kernels.memory_attention.quantised import VqSlots
from kmem.kernels.vq_decode import Table
from kmem.kstore.quant import Vq
from kmem.runtime.records import Records
from kmem.runtime.stats import Stats


@dataclass(frozen=True, kw_only=True, eq=False)
class VqForm:
    """width: bytes of a code. table, and sets [2, S] int32 as `Vq.sets`, on the device, where the table's bytes are beside the budget."""

    width: int
    table: Table
    sets: Tensor
    dtype: torch.dtype = torch.uint8

    @classmethod
    def of(cls, quantiser: Vq, device: torch.device) -> Self:
        """With a copy of the quantiser's table on this device."""
        table = replace(quantiser.table, rows=quantiser.table.rows.to(device))
        return cls(width=table.code_bytes, table=table, sets=quantiser.sets.to(device))

    def ready(self, records: Records, stats: Stats) -> Records:
        return records

    def slots(self, rows: Tensor, of_layer: slice) -> Slots:
        key_sets, value_sets = self.sets[:, of_layer]
        return VqSlots(key=rows[:, 0, of_layer], value=rows[:, 1, of_layer], table=self.table, key_sets=key_sets, value_sets=value_sets)
