"""Where the time of encoding goes: linear layers, attention, choosing tokens, the rest."""

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from kmem.encoder.encode import SELECTING

WHOLE = "kmem.bench.encode"
PARTS = {"linear": ("aten::linear",), "attention": ("aten::scaled_dot_product_attention",), "selection": (SELECTING,)}


def time_shares(work: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Shares of the time of `work` by part, `rest` included: norms, rotation, activations, copies, and Python."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler, record_function(WHOLE):
        work()
    spent: dict[str, float] = {}
    for event in profiler.key_averages():
        spent[event.key] = float(event.device_time_total if on_gpu else event.cpu_time_total)
    shares = {part: sum(spent.get(key, 0.0) for key in keys) / spent[WHOLE] for part, keys in PARTS.items()}
    return {**shares, "rest": 1 - sum(shares.values())}
