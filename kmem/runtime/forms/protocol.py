"""What a form is."""

from typing import Protocol

import torch
from torch import Tensor

from kmem.kernels.memory_attention import Slots
from kmem.runtime.records import Records
from kmem.runtime.stats import Stats


class Form(Protocol):
    """How the device tier holds a memory: one row [2, S, width] of keys and values."""

    @property
    def width(self) -> int:
        """Elements of one key or value."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Type of an element."""
        ...

    def ready(self, records: Records, stats: Stats) -> Records:
        """The same memories with `stored` [n, 2, S, width], to be cast to `dtype` on the device; seconds of decoding go into `stats`."""
        ...

    def slots(self, rows: Tensor, of_layer: slice) -> Slots:
        """These slots of all memories; rows [N, 2, S, width] are read in place."""
        ...
