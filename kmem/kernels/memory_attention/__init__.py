"""Bracket, memories and context under one softmax (Memory³ Eq. 4)."""

from functools import cache

import torch

from kmem.kernels.memory_attention import cpu, dense
from kmem.kernels.memory_attention.layout import LayerMemory, PlainSlots, Prepare, Prepared, Segments, Slots


def prepare(memory: LayerMemory, segments: Segments) -> Prepared:
    """The fastest kernel for where the memories lie: Triton's on a CUDA device that has it, `cpu`, else torch's own operations."""
    device = memory.filled.device
    if device.type == "cpu":
        return cpu.prepare(memory, segments)
    fast = _triton() if _suits_triton(device, memory.bracket_key.dtype) else None
    return (fast or dense.prepare)(memory, segments)


def prepare_joining(memory: LayerMemory, segments: Segments) -> dense.Merging:
    """What joins bracket and memories to the output and log-sum-exp of an attention that some model has of its own."""
    return dense.Merging(memory, segments, range(len(memory.budget)))


def decodes_slots(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether what `prepare` gives there, to models of this type, reads Int8Slots and VqSlots without decoding them all first."""
    return _suits_triton(device, dtype) and _triton() is not None


def _suits_triton(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cuda" and dtype.itemsize <= 4


@cache
def _triton() -> Prepare | None:
    """None where it is not installed: an extra, since only a GPU needs it."""
    try:
        from kmem.kernels.memory_attention import triton
    except ImportError:
        return None
    return triton.prepare


__all__ = ["LayerMemory", "PlainSlots", "Prepared", "Segments", "Slots", "decodes_slots", "prepare", "prepare_joining"]
