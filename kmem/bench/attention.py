"""How near the Triton attention comes to what the device's memory gives: `python -m kmem.bench.attention` where there is a GPU."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from kmem.bench.report import framed
from kmem.kernels.memory_attention import LayerMemory, PlainSlots, Segments

GIGABYTE = 1e9
_CACHE_BYTES = 256 << 20
"""Written before every run, so that nothing is read out of a cache that a model's other layers would have filled."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One call: `queries` new columns after keys − queries old ones in each row, in segments of up to `every` without common memories."""

    batch: int
    query_heads: int
    heads: int
    dim: int
    queries: int
    keys: int
    memories: int
    slots: int
    bracket: int = 4
    every: int = 64

    @property
    def segments(self) -> int:
        return self.batch * -(-self.queries // self.every)

    def read_bytes(self, element_bytes: int) -> int:
        """Every number once: context, memories and bracket, keys and values, and the queries and the output."""
        context = 2 * self.batch * self.heads * self.keys
        slots = 2 * self.segments * self.memories * self.heads * self.slots
        return (
            (context + slots + 2 * self.heads * self.bracket + 2 * self.batch * self.queries * self.query_heads) * self.dim * element_bytes
        )


MEMORY3_2B = {
    "decode": Shape(batch=32, query_heads=40, heads=8, dim=80, queries=1, keys=256, memories=5, slots=8),
    "decode_long": Shape(batch=32, query_heads=40, heads=8, dim=80, queries=1, keys=4096, memories=5, slots=8),
    "decode_large_memory": Shape(batch=32, query_heads=40, heads=8, dim=80, queries=1, keys=256, memories=32, slots=128),
    "decode_one_row": Shape(batch=1, query_heads=40, heads=8, dim=80, queries=1, keys=16_384, memories=32, slots=128),
    "prefill": Shape(batch=32, query_heads=40, heads=8, dim=80, queries=128, keys=128, memories=5, slots=8),
}
"""Attention of Memory³-2B's shape; `decode` and `prefill` are the paper's own setting."""


def attention_figures(shapes: dict[str, Shape], *, device: torch.device, dtype: torch.dtype, repeats: int = 21) -> dict[str, Any]:
    """Median seconds, calls a second, GB read a second and its share of the device's copy bandwidth, by shape's name."""
    copied = _copy_gb_per_s(device, repeats)
    found: dict[str, Any] = {"copy_gb_per_s": round(copied, 3), "dtype": str(dtype).removeprefix("torch.")}
    for name, shape in shapes.items():
        seconds = median(_times(_call(shape, device, dtype), device, repeats))
        read = shape.read_bytes(dtype.itemsize)
        found[name] = {
            **asdict(shape),
            "read_bytes": read,
            "microseconds": round(seconds * 1e6, 2),
            "calls_per_s": round(1 / seconds, 1),
            "gb_per_s": round(read / seconds / GIGABYTE, 3),
            "share_of_copy_bandwidth": round(read / seconds / GIGABYTE / copied, 3),
        }
    return found


def _call(shape: Shape, device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    from kmem.kernels.memory_attention.triton import prepare  # an extra: only a GPU needs it

    random = torch.Generator(device).manual_seed(0)

    def states(*size: int) -> Tensor:
        return torch.randn(size, generator=random, device=device, dtype=dtype)

    slots = shape.heads * shape.slots
    total = shape.segments * shape.memories
    records = states(total, 2, slots, shape.dim)
    memory = LayerMemory(
        slots=PlainSlots(key=records[:, 0], value=records[:, 1]),
        filled=torch.ones(total, slots, dtype=torch.bool, device=device),
        budget=(shape.slots,) * shape.heads,
        bracket_key=states(shape.heads, shape.bracket, shape.dim),
        bracket_value=states(shape.heads, shape.bracket, shape.dim),
    )
    firsts = [(row, first) for row in range(shape.batch) for first in range(0, shape.queries, shape.every)]
    segments = Segments(
        row=tuple(row for row, _ in firsts),
        first=tuple(first for _, first in firsts),
        last=tuple(min(first + shape.every, shape.queries) for _, first in firsts),
        resident=torch.randperm(total, generator=random, device=device).view(shape.segments, shape.memories),
    )
    attend = prepare(memory, segments)
    query = states(shape.batch, shape.query_heads, shape.queries, shape.dim)
    key, value = states(2, shape.batch, shape.heads, shape.keys, shape.dim)
    return lambda: attend(query, key, value, None, scaling=shape.dim**-0.5, softcap=None)


def _copy_gb_per_s(device: torch.device, repeats: int) -> float:
    """Read and written, of a copy too large for any cache."""
    source = torch.ones(_CACHE_BYTES * (4 if device.type == "cuda" else 1), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / median(_times(lambda: target.copy_(source), device, repeats)) / GIGABYTE


def _times(call: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Seconds of each run, after one that compiles, each with cold caches; on a GPU by its own clock."""
    call()
    found = []
    if device.type == "cuda":
        filler = torch.empty(_CACHE_BYTES, dtype=torch.uint8, device=device)
        for _ in range(repeats):
            begin, end = (torch.Event(device, enable_timing=True) for _ in range(2))
            filler.zero_()
            begin.record()
            call()
            end.record()
            end.synchronize()
            found.append(begin.elapsed_time(end) / 1e3)
    else:
        for _ in range(repeats):
            begun = time.perf_counter()
            call()
            found.append(time.perf_counter() - begun)
    return found


def main() -> int:
    """One JSON object on standard output; 2 where there is no GPU."""
    if not torch.cuda.is_available():
        sys.stderr.write("The attention is measured on a GPU, and PyTorch sees none here; run this where there is one.\n")
        return 2
    device = torch.device("cuda")
    figures = attention_figures(MEMORY3_2B, device=device, dtype=torch.bfloat16)
    sys.stdout.write(json.dumps(framed("attention", {"device": torch.cuda.get_device_name(device), **figures}), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
