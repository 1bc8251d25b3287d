"""Keys cut into the overlapping blocks that each chunk of queries sees, so that nothing is as large as all queries times all keys."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from kmem.kernels.chunked_window.beside import beside
from kmem.kernels.chunked_window.layout import Eidetic, KeyValue, Window, require_reach


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

    def settled(self) -> "Blocks":
        """Those nearest to the beginning of a text whose queries see as these do: beyond it, only the place in a chunk matters."""
        chunk = self.window.chunk
        beyond = self.window.first(self.start) - self.window.fading
        back = max(0, beyond // chunk * chunk)
        return replace(self, past=self.past - back, end=self.end - back, start=self.start - back)

    def queries(self, query: Tensor) -> Tensor:
        """[B, Q, T, D] → [count, B, Q, size, D]; rows beside the real ones hold zeros."""
        padded = F.pad(query, [0, 0, self.past - self.start, self.start + self.count * self.size - self.end])
        return torch.unflatten(padded, 2, (self.count, self.size)).permute(2, 0, 1, 3, 4)

    def outputs(self, blocks: Tensor) -> Tensor:
        """The way back: [count, B, Q, size, D] → [B, Q, T, D]."""
        return blocks.permute(1, 2, 0, 3, 4).flatten(2, 3)[:, :, self.past - self.start : self.end - self.start]

    def keys(self, near: KeyValue, fading: KeyValue | None, eidetic: Eidetic | None) -> tuple[Tensor, Tensor]:
        """Keys and values [count, B, H, n, D] of each block: those stored, then fading, then of the window."""
        require_reach(near.key.shape[2], self.window.kept(self.past), self.end, "window's")
        if fading is not None:
            require_reach(fading.key.shape[2], self.window.kept_fading(self.past), self.end, "fading")
        parts = [near] if fading is None else [fading, near]
        cuts = [
            (self.end - part.key.shape[2] - first, width)
            for part, (first, width) in zip(parts, self.spans(fades=fading is not None), strict=True)
        ]
        key = beside(None if eidetic is None else eidetic.key, [part.key for part in parts], cuts, self.count, self.size)
        value = beside(None if eidetic is None else eidetic.value, [part.value for part in parts], cuts, self.count, self.size)
        return key, value

    def spans(self, *, fades: bool) -> Sequence[tuple[int, int]]:
        """Of the first block: first position and number of its fading keys, where it has some, and of its window's."""
        first = self.window.first(self.start)
        near = (first, self.start + self.size - first)
        width = self.window.fading + (self.size - 1 if self.window.sliding else 0)
        return [(first - self.window.fading, width), near] if fades else [near]

    def visible(self, *, fades: bool, device: torch.device) -> Tensor:
        """Which of those keys each query sees: [count, size, n]."""
        step = torch.arange(self.count, device=device)[:, None] * self.size
        query = (self.start + step + torch.arange(self.size, device=device))[:, :, None]
        begin = self.window.first(query)
        places = [(first + step + torch.arange(width, device=device))[:, None] for first, width in self.spans(fades=fades)]
        seen = [(places[-1] <= query) & (places[-1] >= begin) & (places[-1] >= 0)]
        if fades:
            seen.insert(0, (places[0] < begin) & (places[0] >= begin - self.window.fading) & (places[0] >= 0))
        return torch.cat(seen, dim=2)
