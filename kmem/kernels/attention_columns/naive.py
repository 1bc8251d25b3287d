"""The same with all of the attention in memory: what the others are compared with."""

import torch
from torch import Tensor

from kmem.kernels.attention_columns.layout import Frames, Rows


def attention(rows: Rows, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Probabilities [B, H, r, n], averaged over the query heads of a group, and log-sum-exp [B, Q, r]; 0 and −∞ where a row sees nothing.

    known: log-sum-exp [B, Q, c] of the first c rows, which counts keys that are no longer here.
    """
    batch, query_heads, length, _ = rows.query.shape
    heads, keys = rows.key.shape[1:3]
    query = torch.unflatten(rows.query.to(rows.dtype), 1, (heads, rows.group))
    scores = torch.einsum("bhgrd,bhnd->bhgrn", query, rows.key.to(rows.dtype)) * rows.scaling
    if rows.softcap is not None:
        scores = rows.softcap * torch.tanh(scores / rows.softcap)
    at = rows.first + torch.arange(length, device=rows.query.device)
    visible = (rows.position >= 0)[:, :, None] & (rows.position[:, :, None] <= at[:, None])
    scores = scores.masked_fill(~visible[:, :, None], -torch.inf)
    lse = scores.logsumexp(-1)
    if known is not None:
        lse[..., : known.shape[-1]] = torch.unflatten(known.to(lse), 1, (heads, rows.group))
    probabilities = (scores - lse[..., None]).exp().nan_to_num(0.0)
    return probabilities.mean(2).reshape(batch, heads, length, keys), lse.reshape(batch, query_heads, length)


def column_sums(rows: Rows) -> Tensor:
    """[B, H, n]."""
    return attention(rows)[0].sum(2)


def column_frames(rows: Rows, known: Tensor | None, frames: Frames, before: Tensor) -> tuple[Tensor, Tensor]:
    """Frame by frame; see the package's function of this name."""
    seen, lse = attention(rows, known)
    after = before.to(rows.dtype)
    for start in range(0, seen.shape[2] - frames.hop, frames.hop):
        frame = seen[:, :, start : start + 2 * frames.hop]
        real, imaginary = (torch.einsum("kt,bhtn->bhnk", part.to(frame), frame) for part in frames.basis)
        after = frames.decay * after + (1 - frames.decay) * torch.hypot(real, imaginary)
    return after, lse[..., -frames.hop :]
