"""Attention over tokens of which each head has kept its own."""

import torch
from torch import Tensor

from kmem.kernels.memory_attention.context import context_attention


def attend_kept(
    query: Tensor, key: Tensor, value: Tensor, position: Tensor, first: int, *, scaling: float, softcap: float | None
) -> tuple[Tensor, Tensor]:
    """Output [b, Q, q, D] and log-sum-exp [b, Q, q], in float32 or wider, of tokens at positions first … first + q − 1.

    query [b, Q, q, D]; key, value [b, H, n, D] at position [b, H, n], −1 where there is none; what lies in the future is not seen.
    """
    batch, heads, keys, dim = key.shape
    length = query.shape[2]
    at = first + torch.arange(length, device=query.device)
    visible = (position >= 0)[:, :, None] & (position[:, :, None] <= at[:, None])
    mask = None if length == 1 and bool(visible.all()) else visible.view(batch * heads, 1, length, keys)
    # Each key-value head as a row of its own, since it has a mask of its own.
    output, lse = context_attention(
        query.reshape(batch * heads, -1, length, dim),
        key.reshape(batch * heads, 1, keys, dim),
        value.reshape(batch * heads, 1, keys, -1),
        mask,
        scaling=scaling,
        softcap=softcap,
    )
    return output.reshape(batch, -1, length, output.shape[-1]), lse.reshape(batch, -1, length)
