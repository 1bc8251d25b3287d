"""Bracket, memories and context under one softmax (Memory³ Eq. 4)."""

from kmem.kernels.memory_attention import cpu
from kmem.kernels.memory_attention.layout import LayerMemory, PlainSlots, Prepare, Prepared, Segments, Slots

prepare: Prepare = cpu.prepare

__all__ = ["LayerMemory", "PlainSlots", "Prepare", "Prepared", "Segments", "Slots", "prepare"]
