"""Eidetic, fading and window keys under one softmax, block by block (B'MOJO, arXiv 2407.06324)."""

from kmem.kernels.chunked_window.attend import attend, attend_retrieved
from kmem.kernels.chunked_window.layout import Attended, Eidetic, KeyValue, Window

__all__ = ["Attended", "Eidetic", "KeyValue", "Window", "attend", "attend_retrieved"]
