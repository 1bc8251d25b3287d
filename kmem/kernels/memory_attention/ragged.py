"""What segments read beside the context, without padding: one list of filled slots, head by head, segment by segment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kmem.kernels.memory_attention.layout import LayerMemory

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = tuple[Array, Array, Array, Array, Array, Array, Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ragged:
    """key, value [T, D] of all T slots that C segments read; memory [T] which of the segment's R memories each belongs to.

    Only the heads that are `active` [H] have any. The slots of head h and segment c are starts[h·C + c] to starts[h·C + c + 1] − 1.
    bracket_key, bracket_value [H, P, D].
    """

    key: NDArray[Any]
    value: NDArray[Any]
    memory: NDArray[np.int64]
    starts: NDArray[np.int64]
    bracket_key: NDArray[Any]
    bracket_value: NDArray[Any]
    active: NDArray[np.bool_]

    @property
    def arrays(self) -> Arrays:
        """In the order in which `compiled.attend` takes them."""
        return (self.bracket_key, self.bracket_value, self.key, self.value, self.memory, self.starts, self.active)


def ragged(memory: LayerMemory, resident: Tensor, heads: Sequence[int]) -> Ragged:
    """The filled slots that these key-value heads of segments with resident memories [C, R] read, on the CPU, in float32 or wider."""
    active = np.zeros(len(memory.budget), dtype=bool)
    active[list(heads)] = True
    wide = torch.promote_types(memory.bracket_key.dtype, torch.float32)
    places = resident.numpy()
    count = len(places)
    wanted = np.repeat(active, memory.budget)
    filled = memory.filled.numpy()[places] & (places >= 0)[:, :, None] & wanted  # row −1 exists, and is hidden
    segment, which, slot = np.nonzero(filled)
    head = np.repeat(np.arange(len(memory.budget)), memory.budget)[slot]
    order = np.argsort(head * count + segment, kind="stable")
    segment, which, slot, head = segment[order], which[order], slot[order], head[order]
    rows, columns = torch.from_numpy(places[segment, which]), torch.from_numpy(slot)
    key, value = (part[rows, columns].to(wide).numpy() for part in memory.slots.decoded())
    sizes = np.bincount(head * count + segment, minlength=len(memory.budget) * count)
    return Ragged(
        key=key,
        value=value,
        memory=which,
        starts=np.concatenate([[0], np.cumsum(sizes)]),
        bracket_key=memory.bracket_key.to(wide).contiguous().numpy(),
        bracket_value=memory.bracket_value.to(wide).contiguous().numpy(),
        active=active,
    )
