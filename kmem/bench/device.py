"""How much of a GPU's memory something takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(kw_only=True)
class Peak:
    """bytes: the most that torch's tensors took on the device at any moment, the model's included; None on a CPU, where nobody counts."""

    bytes: int | None = None


@contextmanager
def peak_of(device: torch.device) -> Iterator[Peak]:
    """Filled when the block ends."""
    peak = Peak()
    counts = device.type == "cuda"
    if counts:
        torch.cuda.reset_peak_memory_stats(device)
    yield peak
    if counts:
        peak.bytes = torch.cuda.max_memory_allocated(device)
