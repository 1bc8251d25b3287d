"""Bracket, memories and context under one softmax (Memory³ Eq. 4)."""

from kmem.kernels.memory_attention.layout import LayerMemory, PlainSlots, Prepare, Prepared, Segments, Slots
from kmem.kernels.memory_attention.naive import prepare

__all__ = ["LayerMemory", "PlainSlots", "Prepare", "Prepared", "Segments", "Slots", "prepare"]
