"""Eidetic, fading and window keys under one softmax, block by block (B'MOJO, arXiv 2407.06324)."""

from collections.abc import Callable
from functools import cache

from torch import Tensor

from kmem.kernels.chunked_window.attend import attend as by_blocks
from kmem.kernels.chunked_window.attend import attend_retrieved
from kmem.kernels.chunked_window.layout import Attended, Eidetic, KeyValue, Window
from kmem.kernels.memory_attention.context import is_learning


def attend(
    query: Tensor,
    near: KeyValue,
    window: Window,
    *,
    end: int,
    scaling: float,
    fading: KeyValue | None = None,
    eidetic: Eidetic | None = None,
    lse: bool = False,
) -> Attended:
    """Arguments and results as `naive.attend`'s; the output of the query's type, with lse in float32 or wider.

    By Triton on a CUDA device that has it, unless a gradient is wanted; else by blocks. Raises ConfigError when the keys don't reach back
    as far as the first query sees.
    """
    given = [query, *near, *(fading or ()), *(() if eidetic is None else eidetic[:2])]
    suits = query.device.type == "cuda" and query.dtype.itemsize <= 4 and not is_learning(*given)
    path = (_triton() if suits else None) or by_blocks
    return path(query, near, window, end=end, scaling=scaling, fading=fading, eidetic=eidetic, lse=lse)


@cache
def _triton() -> Callable[..., Attended] | None:
    """None where it is not installed: an extra, since only a GPU needs it."""
    try:
        from kmem.kernels.chunked_window import triton
    except ImportError:
        return None
    return triton.attend


__all__ = ["Attended", "Eidetic", "KeyValue", "Window", "attend", "attend_retrieved"]
