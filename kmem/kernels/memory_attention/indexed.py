"""What segments read beside the context, as the compiled pass takes it: the resident memories where they lie, and which of them."""

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kmem.kernels.memory_attention.layout import LayerMemory

Array: TypeAlias = NDArray[Any]
Indexed: TypeAlias = tuple[Array, Array, Array, Array, int, Array, Array, Array]


def indexed(memory: LayerMemory, resident: Tensor) -> Indexed:
    """In the order in which `compiled.attend` takes them: bracket_key, bracket_value [H, P, D]; keys and values of all slots as flat
    numbers, where those of memory r begin at r · step; step; rows [C, R], filled [C, R, S_l] and head_starts [H + 1].

    On the CPU. Numbers narrower than float32 are widened, for the memories that are read alone; others are not copied, so what is
    written over the memories later is read.
    """
    wide = torch.promote_types(memory.bracket_key.dtype, torch.float32)
    rows = resident.numpy()
    filled = memory.filled.numpy()[rows]  # row −1 exists, and is passed over
    slots = memory.slots.decoded()
    if slots[0].dtype != wide:
        read = resident.clamp(min=0)
        slots = slots[0][read].flatten(0, 1).to(wide), slots[1][read].flatten(0, 1).to(wide)
        rows = np.where(rows < 0, rows, np.arange(rows.size).reshape(rows.shape))
    if any(part.stride() != slots[0].stride() or part.stride()[1:] != (part.shape[2], 1) for part in slots):
        slots = slots[0].contiguous(), slots[1].contiguous()
    return (
        memory.bracket_key.to(wide).contiguous().numpy(),
        memory.bracket_value.to(wide).contiguous().numpy(),
        *(_flat(part) for part in slots),
        slots[0].stride(0),
        rows,
        filled,
        np.array(memory.head_starts),
    )


def _flat(slots: Tensor) -> Array:
    """[N, S_l, D], whose slots lie one after another, as the numbers from its first to its last."""
    count, each, dim = slots.shape
    length = (count - 1) * slots.stride(0) + each * dim if slots.numel() else 0
    return slots.as_strided((length,), (1,)).numpy()
