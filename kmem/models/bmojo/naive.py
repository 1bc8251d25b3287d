"""The reference of a B'MOJO layer: every query against every token and every read-out, under masks written out position by position."""

from typing import NamedTuple

import torch
from torch import Tensor

from kmem.models.bmojo.attention import BMojoAttention
from kmem.models.bmojo.priority import EMPTY
from kmem.models.bmojo.rope import Rotation, rotate


class Beside(NamedTuple):
    """Explicit memories that every query reads: key, value [H, m, D]; filled [H, m]."""

    key: Tensor
    value: Tensor
    filled: Tensor


def mix(mixer: BMojoAttention, hidden: Tensor, rotation: Rotation, beside: Beside | None = None) -> Tensor:
    """What the mixer gives for hidden [B, T, C], the first T tokens, where all that is stored is read (nothing retrieved)."""
    batch, length, _ = hidden.shape
    query, (plain, value) = rotate(mixer.attention.queries(hidden), *rotation), mixer.attention.keys(hidden)
    key = rotate(plain, *rotation)
    read_out = None
    seen = torch.zeros(batch, length, 2 * length, dtype=torch.bool, device=hidden.device)
    if mixer.fading is not None:
        read_out, _ = mixer.fading(hidden, {})
        fading_key, fading_value = mixer.attention.fading_keys(read_out)
        key, value = torch.cat([key, rotate(fading_key, *rotation)], dim=2), torch.cat([value, fading_value], dim=2)
    ranks = None if mixer.ranking is None else mixer.ranking.rank(hidden, read_out, {}, 0)[0].tolist()
    for row in range(batch):
        for position in range(length):
            first = mixer.window.first(position)
            seen[row, position, max(0, first) : position + 1] = True
            if ranks is not None:
                seen[row, position, _stored(ranks[row][: max(0, first)], mixer.store.capacity)] = True
            seen[row, position, length + max(0, first - mixer.window.fading) : length + max(0, first)] = True
    visible = seen[:, None, :, : key.shape[2]].expand(-1, key.shape[1], -1, -1)
    if beside is not None:
        key, value = (torch.cat([part, own.expand(batch, -1, -1, -1)], dim=2) for part, own in ((key, beside.key), (value, beside.value)))
        visible = torch.cat([visible, beside.filled[None, :, None].expand(batch, -1, length, -1)], dim=3)
    shared = query.shape[1] // key.shape[1]
    key, value, visible = (part.repeat_interleave(shared, dim=1) for part in (key, value, visible))
    scores = query @ key.mT * mixer.attention.scaling
    if mixer.store.reach is not None:
        chunk, stored = mixer.window.chunk, plain.repeat_interleave(shared, dim=1)
        for position in range(length):
            left, first = max(0, mixer.window.first(position)), position - position % chunk
            places = torch.arange(left).clamp(min=first - mixer.store.reach.tokens)
            at = rotate(stored[:, :, :left], *(part[:, places] for part in rotation))
            scores[:, :, position, :left] = (query[:, :, position, None] @ at.mT)[:, :, 0] * mixer.attention.scaling
    output = scores.masked_fill(~visible, -torch.inf).softmax(-1) @ value
    return mixer.attention.merged(output.transpose(1, 2))


def _stored(ranks: list[int], capacity: int | None) -> list[int]:
    """Positions of the tokens that a store holds after it was shown all of these."""
    best = sorted((position for position, rank in enumerate(ranks) if rank != EMPTY), key=lambda position: -ranks[position])
    return best if capacity is None else best[:capacity]
