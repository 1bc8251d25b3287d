"""Scan of a selective state space with one decay a head (Mamba-2's SSD, arXiv 2405.21060 §6)."""

from collections.abc import Callable
from functools import cache

from torch import Tensor

from kmem.kernels.memory_attention.context import is_learning
from kmem.kernels.ssd_scan import chunked

Scan = Callable[..., tuple[Tensor, Tensor]]


def ssd_scan(value: Tensor, log_decay: Tensor, key: Tensor, query: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Arguments and results as `naive.ssd_scan`'s: by Triton on a CUDA device that has it, unless a gradient is wanted; else `chunked`."""
    given = [part for part in (value, log_decay, key, query, state) if part is not None]
    suits = value.device.type == "cuda" and value.dtype.itemsize <= 4 and not is_learning(*given)
    scan = (_triton() if suits else None) or chunked.ssd_scan
    return scan(value, log_decay, key, query, state)


@cache
def _triton() -> Scan | None:
    """None where it is not installed: an extra, since only a GPU needs it."""
    try:
        from kmem.kernels.ssd_scan import triton
    except ImportError:
        return None
    return triton.ssd_scan


__all__ = ["ssd_scan"]
