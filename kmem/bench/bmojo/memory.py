"""The most memory that some work takes."""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from kmem.bench.device import peak_of


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """The most bytes that torch's tensors held during `work`, beyond those they held before it.

    On a CPU the allocations are counted one by one, so the figure is the same in every run. Slow: the work is profiled.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        with peak_of(device) as peak:
            work()
        return (peak.bytes or before) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    recorded: Any = profiler.profiler
    events = [event for event in recorded.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: int(event.start_ns()))), default=0)
