"""What attention each key got, from the queries that read it: a column of softmax(QKᵀ), reduced while it is computed.

The rows come a second time, after the attention itself, or on a CPU in its place (`Rows.attention`); as few of them are in memory at once
as a spectrum needs.
"""

from functools import cache
from types import ModuleType

from torch import Tensor

from kmem.kernels.attention_columns import cpu
from kmem.kernels.attention_columns.layout import Attention, Frames, Rows

__all__ = ["Attention", "Frames", "Rows", "column_frames", "column_sums"]


def column_sums(rows: Rows) -> Tensor:
    """[B, H, n] the probability each key got, summed over the rows and averaged over the query heads of its group; at least float32."""
    fast = _triton(rows)
    return (fast or cpu).column_sums(rows)  # type: ignore[no-any-return]


def column_frames(rows: Rows, known: Tensor | None, frames: Frames, before: Tensor) -> tuple[Tensor, Tensor]:
    """Averaged spectra [B, H, n, bins] after r/hop − 1 more frames, and the log-sum-exp [B, Q, hop] of the last hop rows.

    rows: r rows, a multiple of the hop; the first `hop` were read before and are a frame's first half. known: their log-sum-exp
    [B, Q, hop], which may count keys that are no longer here; None = from the keys that are. before: [B, H, n, bins].
    """
    fast = _triton(rows) if frames.suits_blocks else None
    return (fast or cpu).column_frames(rows, known, frames, before)  # type: ignore[no-any-return]


def _triton(rows: Rows) -> ModuleType | None:
    return _installed() if rows.key.device.type == "cuda" and rows.key.dtype.itemsize <= 4 else None


@cache
def _installed() -> ModuleType | None:
    """None where Triton is not installed: an extra, since only a GPU needs it."""
    try:
        from kmem.kernels.attention_columns import triton
    except ImportError:
        return None
    return triton
