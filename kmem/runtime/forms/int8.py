"""int8 records as they are stored: signed bytes and a scale, D + 2 bytes a vector."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.kernels.memory_attention import Slots
from kmem.kernels.memory_attention.quantised import Int8Slots
from kmem.runtime.records import Records
from kmem.runtime.stats import Stats


@dataclass(frozen=True, kw_only=True)
class Int8Form:
    """width: D + 2."""

    width: int
    dtype: torch.dtype = torch.uint8

    def ready(self, records: Records, stats: Stats) -> Records:
        return records

    def slots(self, rows: Tensor, of_layer: slice) -> Slots:
        return Int8Slots(key=rows[:, 0, of_layer], value=rows[:, 1, of_layer])
