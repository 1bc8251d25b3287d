"""Overlapping blocks of keys laid side by side, with a backward pass that adds each block's part where it was cut from."""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

Cut = tuple[int, int]
"""(lead, width): the first block begins `lead` places before a part's first row, zeros where there is none, and has `width` rows."""


def beside(stored: Tensor | None, parts: Sequence[Tensor], cuts: Sequence[Cut], count: int, size: int) -> Tensor:
    """[count, B, H, n, D]: each block's own of `stored` [B, H, count, M, D], then of every part [B, H, n, D] what it overlaps.

    Block b of a part begins b · size rows after the first. Autograd through `unfold` gives the same gradients several times slower.
    """
    return cast(Tensor, _Beside.apply(cuts, count, size, stored, *parts))  # type: ignore[no-untyped-call]  # torch is untyped here


class _Beside(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cuts: Sequence[Cut], count: int, size: int, stored: Tensor | None, *parts: Tensor) -> Tensor:
        ctx.cuts, ctx.count, ctx.size = cuts, count, size
        ctx.stored, ctx.lengths = 0 if stored is None else stored.shape[3], [part.shape[2] for part in parts]
        blocks = [] if stored is None else [stored.permute(2, 0, 1, 3, 4)]
        blocks += [_blocks(part, cut, count, size) for part, cut in zip(parts, cuts, strict=True)]
        return torch.cat(blocks, dim=3)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        count, size, at = ctx.count, ctx.size, ctx.stored
        stored = gradient[..., :at, :].permute(1, 2, 0, 3, 4) if at else None
        parts = []
        for (lead, width), length in zip(ctx.cuts, ctx.lengths, strict=True):
            own = gradient[..., at : at + width, :].permute(1, 2, 0, 3, 4)  # [B, H, count, width, D]
            parts.append(_added(own, lead, length, count, size))
            at += width
        return None, None, None, stored, *parts


def _blocks(part: Tensor, cut: Cut, count: int, size: int) -> Tensor:
    """[B, H, n, D] → [count, B, H, width, D]."""
    lead, width = cut
    reach = (count - 1) * size + width
    behind = max(0, reach - lead - part.shape[2])
    if lead > 0 or behind:
        part = F.pad(part, [0, 0, max(0, lead), behind])
    first = max(0, -lead)
    return part[:, :, first : first + reach].unfold(2, width, size).permute(2, 0, 1, 4, 3)


def _added(blocks: Tensor, lead: int, length: int, count: int, size: int) -> Tensor:
    """The way back of a gradient: [B, H, count, width, D] → [B, H, length, D]."""
    batch, heads, _, width, dim = blocks.shape
    rows = (count + -(-width // size) - 1) * size
    total = blocks.new_zeros(batch, heads, rows, dim)
    for first in range(0, width, size):
        piece = blocks[:, :, :, first : first + size]
        torch.unflatten(total.narrow(2, first, count * size), 2, (count, size))[:, :, :, : piece.shape[3]].add_(piece)
    first, last = min(max(0, lead), rows), max(0, min(rows, lead + length))
    if first >= last:  # the blocks end before the part begins
        return blocks.new_zeros(batch, heads, length, dim)
    return F.pad(total[:, :, first:last], [0, 0, first - lead, length + lead - last])
