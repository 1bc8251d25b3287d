"""How many floating-point operations of matrix products are executed, and the most that this machine executes in a second."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

SQUARES = (512, 1024, 2048, 4096)
SQUARES_ON_GPU = (2048, 4096, 8192)
REPEATS = 3


LINEAR = (torch.ops.aten.mm, torch.ops.aten.addmm)


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Multiplications and additions of all matrix products, attention's included, and of linear layers alone."""

    total: int
    linear: int


def executed_flops(work: Callable[[], object]) -> Flops:
    """What `work` runs.

    A causal kernel is counted with the half of the scores that it needs, the processor's kernel with all that it is not told to leave out.
    """
    ops: dict[Any, Any] = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention_flops}
    with FlopCounterMode(display=False, custom_mapping=ops) as counter:
        work()
    counts = counter.get_flop_counts()["Global"]
    return Flops(total=sum(counts.values()), linear=sum(counts.get(op, 0) for op in LINEAR))


def _cpu_attention_flops(
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    dropout: float = 0.0,
    is_causal: bool = False,
    **rest: object,
) -> int:
    """Shapes [B, Q, q, D], [B, H, n, D], [B, H, n, D]."""
    batch, heads, length, dim = query
    whole = 2 * batch * heads * length * key[2] * (dim + value[3])
    return whole // 2 if is_causal else whole


def matmul_sizes(tokens: int, width: int, mlp_width: int, *, device: torch.device) -> dict[str, tuple[int, int, int]]:
    """(rows, inner, columns) by name: squares, and what a model of this width multiplies with so many tokens a batch."""
    squares = SQUARES if device.type == "cpu" else SQUARES_ON_GPU
    shaped = [(tokens, width, width), (tokens, width, mlp_width), (tokens, mlp_width, width)]
    return {"×".join(map(str, size)): size for size in (*((side, side, side) for side in squares), *shaped)}


def matmul_rates(sizes: dict[str, tuple[int, int, int]], *, dtype: torch.dtype, device: torch.device) -> dict[str, float]:
    """FLOP/s of the best of a few products of each size."""
    found = {}
    with torch.inference_mode():
        for name, (rows, inner, columns) in sizes.items():
            left = torch.randn(rows, inner, dtype=dtype, device=device)
            right = torch.randn(columns, inner, dtype=dtype, device=device)
            seconds = min(_seconds(left, right) for _ in range(REPEATS + 1))
            found[name] = 2 * rows * inner * columns / seconds
    return found


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    """Of one product as a linear layer takes it."""
    wait(left.device)
    began = time.perf_counter()
    torch.nn.functional.linear(left, right)
    wait(left.device)
    return time.perf_counter() - began


def wait(device: torch.device) -> None:
    """Until everything that was started is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
