"""Copies to the device that the processor does not wait for."""

import torch
from torch import Tensor


class Copies:
    """Puts tensors on `device`. On a CUDA device through pinned memory, in a stream of their own: the copy runs beside what is still being
    computed there and beside the processor, which plans and launches meanwhile; what is launched after it waits for it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, tensor: Tensor) -> Tensor:
        """The same numbers on the device; `tensor` itself where it lies there already."""
        if self._stream is None or tensor.device.type != "cpu":
            return tensor.to(self._device)
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            copied = tensor.pin_memory().to(self._device, non_blocking=True)  # torch keeps the pinned bytes until they are read
        current.wait_stream(self._stream)
        copied.record_stream(current)  # else its memory could be given away while `current` reads it
        return copied
