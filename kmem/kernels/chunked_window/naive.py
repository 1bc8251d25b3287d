"""The reference: every query against all keys, under an explicit mask. Every faster path must agree with it."""

import torch
from torch import Tensor

from kmem.kernels.chunked_window.layout import Attended, Eidetic, KeyValue, Window


def attend(
    query: Tensor,
    near: KeyValue,
    window: Window,
    *,
    end: int,
    scaling: float,
    fading: KeyValue | None = None,
    eidetic: Eidetic | None = None,
) -> Attended:
    """Output [B, Q, T, D] of query [B, Q, T, D], the tokens at positions end − T … end − 1, and lse [B, Q, T], in float32 or wider.

    near: keys of the tokens themselves; fading: keys of the state's read-outs; eidetic: of the chunks in `window.chunks(end − T, end)`.
    """
    length = query.shape[2]
    shared = query.shape[1] // near.key.shape[1]
    wide = torch.promote_types(query.dtype, torch.float32)
    positions = torch.arange(end - length, end, device=query.device)[:, None]
    first = window.first(positions)

    keys, values, masks = [], [], []
    if eidetic is not None:
        every = (positions[:, 0] // window.chunk) - (end - length) // window.chunk  # [T] which of the K sets
        keys.append(eidetic.key[:, :, every])  # [B, H, T, M, D]
        values.append(eidetic.value[:, :, every])
        masks.append(eidetic.filled[:, every])
    if fading is not None:
        place = torch.arange(end - fading.key.shape[2], end, device=query.device)
        keys.append(fading.key[:, :, None].expand(-1, -1, length, -1, -1))
        values.append(fading.value[:, :, None].expand(-1, -1, length, -1, -1))
        masks.append(((place < first) & (place >= first - window.fading)).expand(len(query), -1, -1))
    place = torch.arange(end - near.key.shape[2], end, device=query.device)
    keys.append(near.key[:, :, None].expand(-1, -1, length, -1, -1))
    values.append(near.value[:, :, None].expand(-1, -1, length, -1, -1))
    masks.append(((place <= positions) & (place >= first)).expand(len(query), -1, -1))

    key, value = (torch.cat(parts, dim=3).to(wide).repeat_interleave(shared, dim=1) for parts in (keys, values))
    scores = (key @ query.to(wide)[..., None])[..., 0] * scaling
    scores = scores.masked_fill(~torch.cat(masks, dim=2)[:, None], -torch.inf)
    return Attended((scores.softmax(-1)[..., None, :] @ value)[..., 0, :], scores.logsumexp(-1))
