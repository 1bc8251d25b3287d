"""Bracket, memories and context under one softmax (Memory³ Eq. 4)."""

from kmem.kernels.memory_attention.naive import memory_attention

__all__ = ["memory_attention"]
