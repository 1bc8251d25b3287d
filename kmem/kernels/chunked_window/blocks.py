"""Keys cut into the overlapping blocks that each chunk of queries sees, so that nothing is as large as all queries times all keys."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kmem.kernels.chunked_window.layout import KeyValue, Window, require_reach


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Queries at positions past … end − 1 as `count` blocks of `size`, from position `start` on: whole chunks, or part of one."""

    window: Window
    past: int
    end: int
    start: int
    size: int
    count: int

    @classmethod
    def of(cls, window: Window, past: int, end: int) -> "Blocks":
        chunks = window.chunks(past, end)
        if len(chunks) == 1:
            return cls(window=window, past=past, end=end, start=past, size=end - past, count=1)
        return cls(window=window, past=past, end=end, start=chunks.start * window.chunk, size=window.chunk, count=len(chunks))

    def queries(self, query: Tensor) -> Tensor:
        """[B, Q, T, D] → [B, count, Q, size, D]; rows beside the real ones hold zeros."""
        padded = F.pad(query, [0, 0, self.past - self.start, self.start + self.count * self.size - self.end])
        return torch.unflatten(padded, 2, (self.count, self.size)).transpose(1, 2)

    def outputs(self, blocks: Tensor) -> Tensor:
        """The way back: [B, count, Q, size, D] → [B, Q, T, D]."""
        return blocks.transpose(1, 2).flatten(2, 3)[:, :, self.past - self.start : self.end - self.start]

    def near(self, given: KeyValue) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values [B, count, H, n, D] of each block's windows, and which each query sees [count, size, n]."""
        require_reach(given.key.shape[2], self.window.kept(self.past), self.end, "window's")
        first = self.window.first(self.start)
        width = self.start + self.size - first
        query, place = self._positions(first, width, given.key.device)
        visible = (place <= query) & (place >= self.window.first(query)) & (place >= 0)
        return self._cut(given.key, first, width), self._cut(given.value, first, width), visible

    def fading(self, given: KeyValue) -> tuple[Tensor, Tensor, Tensor]:
        """The same of the fading keys, which stand before the windows."""
        require_reach(given.key.shape[2], self.window.kept_fading(self.past), self.end, "fading")
        first = self.window.first(self.start) - self.window.fading
        width = self.window.fading + (self.size - 1 if self.window.sliding else 0)
        query, place = self._positions(first, width, given.key.device)
        begin = self.window.first(query)
        visible = (place < begin) & (place >= begin - self.window.fading) & (place >= 0)
        return self._cut(given.key, first, width), self._cut(given.value, first, width), visible

    def _cut(self, part: Tensor, first: int, width: int) -> Tensor:
        """[B, H, n, D], its last at position end − 1 → [B, count, H, width, D]; block b begins at position first + b · size."""
        lead = self.end - part.shape[2] - first
        reach = (self.count - 1) * self.size + width
        padded = F.pad(part, [0, 0, lead, max(0, first + reach - self.end)])[:, :, :reach]  # a lead below 0 cuts
        return padded.unfold(2, width, self.size).permute(0, 2, 1, 4, 3)

    def _positions(self, first: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Positions of queries [count, size, 1] and of keys [count, 1, width]."""
        step = torch.arange(self.count, device=device)[:, None] * self.size
        query = self.start + step + torch.arange(self.size, device=device)
        return query[:, :, None], (first + step + torch.arange(width, device=device))[:, None]
