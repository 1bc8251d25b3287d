"""The same scan as matrix products: inside a chunk as masked attention, between chunks through the state. The path of CPU and autograd."""

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 64
"""Tokens of a chunk: inside one, work grows with the square; between two stands one step in Python."""


def ssd_scan(
    value: Tensor, log_decay: Tensor, key: Tensor, query: Tensor, state: Tensor | None = None, *, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """Arguments and results as `naive.ssd_scan`'s.

    Decays are summed in float64, since a difference of two sums stands in the exponent.
    """
    wide = torch.promote_types(value.dtype, torch.float32)
    batch, length, heads, dim = value.shape
    groups, width = key.shape[2:]
    shared = heads // groups
    state = value.new_zeros(batch, heads, dim, width, dtype=wide) if state is None else state.to(wide)
    if length == 0:
        return value.to(wide), state
    chunk = min(chunk, length)
    value, log_decay, key, query = (_chunks(part.to(wide), chunk) for part in (value, log_decay, key, query))
    key, query = key.transpose(2, 3), query.transpose(2, 3)  # [B, C, G, c, n]
    value = torch.unflatten(value, 3, (groups, shared)).permute(0, 1, 3, 2, 4, 5)  # [B, C, G, c, h, D]
    total = torch.unflatten(log_decay.double().cumsum(2), 3, (groups, shared)).permute(0, 1, 3, 4, 2)  # [B, C, G, h, c]

    between = (total[..., :, None] - total[..., None, :]).to(wide)
    ahead = torch.ones(chunk, chunk, dtype=torch.bool, device=value.device).triu(1)
    decays = between.masked_fill_(ahead, -torch.inf).exp_()  # [B, C, G, h, c, c]
    weights = (query @ key.transpose(-1, -2))[:, :, :, None] * decays
    inside = weights @ value.transpose(3, 4)  # [B, C, G, h, c, D]

    until_end = (total[..., -1:] - total).exp().to(wide).transpose(3, 4)  # [B, C, G, c, h]
    added = (value * until_end[..., None]).flatten(4).transpose(-1, -2) @ key  # [B, C, G, hD, n]
    whole = total[..., -1].exp().to(wide).repeat_interleave(dim, dim=-1)[..., None]  # [B, C, G, hD, 1]
    now, before = state.view(batch, groups, shared * dim, width), []
    for index in range(added.shape[1]):
        before.append(now)
        now = now * whole[:, index] + added[:, index]

    carried = torch.unflatten(query @ torch.stack(before, dim=1).transpose(-1, -2), 4, (shared, dim))  # [B, C, G, c, h, D]
    output = torch.addcmul(inside.transpose(3, 4), carried, total.exp().to(wide).transpose(3, 4)[..., None])
    output = output.permute(0, 1, 3, 2, 4, 5).reshape(batch, -1, heads, dim)
    return output[:, :length], now.view(batch, heads, dim, width)


def _chunks(part: Tensor, chunk: int) -> Tensor:
    """[B, T, …] → [B, C, chunk, …]; zeros behind the end neither add to the state nor fade it."""
    short = -part.shape[1] % chunk
    padded = F.pad(part, [0, 0] * (part.ndim - 2) + [0, short]) if short else part
    return torch.unflatten(padded, 1, (-1, chunk))
