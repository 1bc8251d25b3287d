"""Bracket, memories and context under one softmax (Memory³ Eq. 4)."""

from kmem.kernels.memory_attention import cpu, dense
from kmem.kernels.memory_attention.layout import LayerMemory, PlainSlots, Prepared, Segments, Slots


def prepare(memory: LayerMemory, segments: Segments) -> Prepared:
    """The fastest kernel for where the memories lie: Triton's on a CUDA device that has it, `cpu`, else torch's own operations."""
    if memory.filled.device.type == "cpu":
        return cpu.prepare(memory, segments)
    if memory.filled.is_cuda and memory.bracket_key.dtype.itemsize <= 4:
        try:
            from kmem.kernels.memory_attention import triton  # an extra: only a GPU needs it
        except ImportError:
            return dense.prepare(memory, segments)
        return triton.prepare(memory, segments)
    return dense.prepare(memory, segments)


__all__ = ["LayerMemory", "PlainSlots", "Prepared", "Segments", "Slots", "prepare"]
