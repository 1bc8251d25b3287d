"""Numbers in the model's type, decoded once, before they are copied: what every kernel reads."""

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kmem.kernels.memory_attention import PlainSlots, Slots
from kmem.kstore.quant import Quantiser
from kmem.runtime.records import Records
from kmem.runtime.stats import Stats


@dataclass(frozen=True, kw_only=True)
class PlainForm:
    """width: D. quantiser: what decodes the records; None where they are numbers already."""

    width: int
    dtype: torch.dtype
    quantiser: Quantiser | None

    def ready(self, records: Records, stats: Stats) -> Records:
        if self.quantiser is None:
            return records
        began = time.perf_counter()
        numbers = self.quantiser.decode(records.stored.numpy())
        stats.note_decoding(time.perf_counter() - began)
        return replace(records, stored=numbers)

    def slots(self, rows: Tensor, of_layer: slice) -> Slots:
        return PlainSlots(key=rows[:, 0, of_layer], value=rows[:, 1, of_layer])
