"""The fast path: each block's keys side by side, and torch's own attention over all blocks at once."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from kmem.kernels.chunked_window.blocks import Blocks
from kmem.kernels.chunked_window.layout import Attended, Eidetic, KeyValue, Window
from kmem.kernels.memory_attention.context import context_attention

KEPT_NUMBERS = 1 << 22
"""Masks of up to so many numbers are kept for the next layer."""


def attend(
    query: Tensor,
    near: KeyValue,
    window: Window,
    *,
    end: int,
    scaling: float,
    fading: KeyValue | None = None,
    eidetic: Eidetic | None = None,
    lse: bool = False,
) -> Attended:
    """Arguments as `naive.attend`'s; the output is of the query's type. Memory grows with T, never with its square.

    lse: whether it is wanted; the output is float32 or wider then. Blocks are torch's batch and rows its heads, so that all rows share a
    mask. Raises ConfigError when the keys don't reach back as far as the first query sees.
    """
    blocks = Blocks.of(window, end - query.shape[2], end)
    batch, heads = near.key.shape[:2]
    key, value = blocks.keys(near, fading, eidetic)
    rows = torch.unflatten(blocks.queries(query), 2, (heads, -1)).flatten(3, 4).flatten(1, 2)  # [K, B·H, G·size, D]
    mask = _mask(blocks, eidetic, fades=fading is not None, shared=query.shape[1] // heads, like=rows)
    output, sums = _softmax(rows, key.flatten(1, 2), value.flatten(1, 2), mask, scaling=scaling, lse=lse)

    def back(part: Tensor) -> Tensor:
        """[K, B·H, G·size, ·] → [B, Q, T, ·]."""
        per_head = torch.unflatten(torch.unflatten(part, 2, (-1, blocks.size)), 1, (batch, heads))  # [K, B, H, G, size, ·]
        return blocks.outputs(per_head.flatten(2, 3))

    return Attended(back(output), None if sums is None else back(sums[..., None])[..., 0])


def attend_retrieved(
    query: Tensor,
    near: KeyValue,
    window: Window,
    eidetic: Eidetic,
    *,
    end: int,
    scaling: float,
    fading: KeyValue | None = None,
    lse: bool = False,
) -> Attended:
    """The same where each query of one chunk, and each of its heads, has eidetic keys of its own.

    eidetic: keys and values [B, H, T, R, D], filled [B, H, T, R].
    """
    blocks = Blocks.of(window, end - query.shape[2], end)
    batch, heads, length = *near.key.shape[:2], query.shape[2]
    beside = [part.transpose(0, 1).expand(-1, length, -1, -1, -1) for part in blocks.keys(near, fading, None)]  # [B, T, H, n, D]
    key, value = (torch.cat([own.transpose(1, 2), part], dim=3).flatten(0, 1) for own, part in zip(eidetic, beside, strict=False))
    seen = blocks.visible(fades=fading is not None, device=query.device)[0, None, :, None].expand(batch, -1, heads, -1)
    visible = torch.cat([eidetic.filled.transpose(1, 2), seen], dim=3).flatten(0, 1)[:, :, None]
    rows = torch.unflatten(query, 1, (heads, -1)).permute(0, 3, 1, 2, 4).flatten(0, 1)  # [B·T, H, G, D]
    mask = _added(visible.expand(-1, -1, rows.shape[2], -1), query.dtype)
    output, sums = _softmax(rows, key, value, mask, scaling=scaling, lse=lse)

    def back(part: Tensor) -> Tensor:
        """[B·T, H, G, ·] → [B, Q, T, ·]."""
        return torch.unflatten(part, 0, (batch, length)).permute(0, 2, 3, 1, 4).flatten(1, 2)

    return Attended(back(output), None if sums is None else back(sums[..., None])[..., 0])


def _softmax(rows: Tensor, key: Tensor, value: Tensor, mask: Tensor, *, scaling: float, lse: bool) -> tuple[Tensor, Tensor | None]:
    """Output [n, h, m, D] of rows [n, h, m, D] over key, value [n, h, k, D] under an added mask, and lse [n, h, m] where wanted."""
    if lse:  # torch's attention keeps it to itself
        return context_attention(rows, key, value, mask == 0, scaling=scaling, softcap=None)
    return F.scaled_dot_product_attention(rows, key, value, attn_mask=mask, scale=scaling), None


def _mask(blocks: Blocks, eidetic: Eidetic | None, *, fades: bool, shared: int, like: Tensor) -> Tensor:
    """What is added to scores [K, B·H, G·size, n] of queries `like`: 0 for a key that is seen, −∞ for others; of size 1 where all agree."""
    stored = 0 if eidetic is None else eidetic.key.shape[3]
    keys = stored + sum(width for _, width in blocks.spans(fades=fades))
    kept = blocks.count * shared * blocks.size * keys <= KEPT_NUMBERS
    near = (kept_masks if kept else _positions)(blocks.settled(), stored, fades, shared, like.dtype, like.device)
    if eidetic is None or bool(eidetic.filled.all()):
        return near
    filled = eidetic.filled.transpose(0, 1)  # [K, B, M]
    alike = bool((filled == filled[:, :1]).all())
    filled = filled[:, :1] if alike else filled.repeat_interleave(eidetic.key.shape[1], dim=1)
    free = _added(filled, like.dtype)[:, :, None]  # [K, 1 or B·H, 1, M]
    size = (*free.shape[:2], near.shape[2], -1)
    return torch.cat([free.expand(size), near[..., stored:].expand(size)], dim=3)


@torch.inference_mode(False)  # a mask made by inference can't be used by training
def _positions(blocks: Blocks, stored: int, fades: bool, shared: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[K or 1, 1, G·size, stored + n] of a full store."""
    seen = F.pad(blocks.visible(fades=fades, device=device), [stored, 0], value=True)
    if bool((seen == seen[:1]).all()):
        seen = seen[:1]
    return _added(seen, dtype).repeat(1, shared, 1)[:, None]


def _added(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where seen, else −∞."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)


kept_masks = lru_cache(maxsize=4)(_positions)
