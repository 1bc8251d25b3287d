"""The fast path: each block's keys side by side, and torch's own attention over all blocks at once."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kmem.kernels.chunked_window.blocks import Blocks
from kmem.kernels.chunked_window.layout import Attended, Eidetic, KeyValue, Window
from kmem.kernels.memory_attention.context import context_attention


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

    lse: whether it is wanted; the output is float32 or wider then. Raises ConfigError when the keys don't reach back as far as the first
    query sees.
    """
    blocks = Blocks.of(window, end - query.shape[2], end)
    batch, heads = near.key.shape[:2]
    key, value, visible = _beside(blocks, near, fading)
    visible = visible.expand(batch, *visible.shape)  # [B, K, size, n]
    if eidetic is not None:
        key = torch.cat([eidetic.key.transpose(1, 2), key], dim=3)
        value = torch.cat([eidetic.value.transpose(1, 2), value], dim=3)
        visible = torch.cat([eidetic.filled[:, :, None].expand(-1, -1, blocks.size, -1), visible], dim=3)
    rows = torch.unflatten(blocks.queries(query).flatten(0, 1), 1, (heads, -1)).flatten(2, 3)  # [B·K, H, G·size, D]
    mask = visible.flatten(0, 1)[:, None].repeat(1, 1, rows.shape[2] // blocks.size, 1)
    output, sums = _softmax(rows, key.flatten(0, 1), value.flatten(0, 1), mask, scaling=scaling, lse=lse)

    def back(part: Tensor) -> Tensor:
        """[B·K, H, G·size, ·] → [B, Q, T, ·]."""
        per_head = torch.unflatten(part, 2, (-1, blocks.size)).flatten(1, 2)
        return blocks.outputs(torch.unflatten(per_head, 0, (batch, -1)))

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
    key, value, visible = _beside(blocks, near, fading)
    key, value = (part.expand(-1, length, -1, -1, -1) for part in (key, value))
    key = torch.cat([eidetic.key.transpose(1, 2), key], dim=3).flatten(0, 1)  # [B·T, H, R + n, D]
    value = torch.cat([eidetic.value.transpose(1, 2), value], dim=3).flatten(0, 1)
    seen = visible[0, None, :, None].expand(batch, -1, heads, -1)
    mask = torch.cat([eidetic.filled.transpose(1, 2), seen], dim=3).flatten(0, 1)[:, :, None]
    rows = torch.unflatten(query, 1, (heads, -1)).permute(0, 3, 1, 2, 4).flatten(0, 1)  # [B·T, H, G, D]
    output, sums = _softmax(rows, key, value, mask.expand(-1, -1, rows.shape[2], -1), scaling=scaling, lse=lse)

    def back(part: Tensor) -> Tensor:
        """[B·T, H, G, ·] → [B, Q, T, ·]."""
        return torch.unflatten(part, 0, (batch, length)).permute(0, 2, 3, 1, 4).flatten(1, 2)

    return Attended(back(output), None if sums is None else back(sums[..., None])[..., 0])


def _softmax(rows: Tensor, key: Tensor, value: Tensor, mask: Tensor, *, scaling: float, lse: bool) -> tuple[Tensor, Tensor | None]:
    """Output [n, H, m, D] of rows [n, H, m, D] over key, value [n, H, k, D] under a boolean mask, and lse [n, H, m] where wanted."""
    if lse:  # torch's attention keeps it to itself
        return context_attention(rows, key, value, mask, scaling=scaling, softcap=None)
    return F.scaled_dot_product_attention(rows, key, value, attn_mask=mask, scale=scaling), None


def _beside(blocks: Blocks, near: KeyValue, fading: KeyValue | None) -> tuple[Tensor, Tensor, Tensor]:
    """Fading and window keys and values [B, K, H, n, D] of each block, and which each query sees [K, size, n]."""
    parts = [blocks.near(near)] if fading is None else [blocks.fading(fading), blocks.near(near)]
    keys, values, masks = zip(*parts, strict=True)
    return torch.cat(keys, dim=3), torch.cat(values, dim=3), torch.cat(masks, dim=2)
