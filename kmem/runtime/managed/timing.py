"""Seconds that watching and scoring took."""

import time
from types import TracebackType

import torch


class Clock:
    """`with clock:` adds to `seconds`. On a GPU, what was asked for is waited for only where `synchronise` is set, as a benchmark does."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.synchronise = False
        self._began = 0.0

    def __enter__(self) -> "Clock":
        self._wait()
        self._began = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._wait()
        self.seconds += time.perf_counter() - self._began

    def _wait(self) -> None:
        if self.synchronise and torch.cuda.is_available():
            torch.cuda.synchronize()
