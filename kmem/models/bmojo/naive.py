"""The reference of a B'MOJO layer: every query against every token and every read-out, under masks written out position by position."""

import torch
from torch import Tensor

from kmem.models.bmojo.attention import BMojoMixer
from kmem.models.bmojo.priority import EMPTY


def mix(mixer: BMojoMixer, hidden: Tensor) -> Tensor:
    """What the mixer gives for hidden [B, T, C], the first T tokens, where all that is stored is read (nothing retrieved)."""
    batch, length, _ = hidden.shape
    query, (key, value) = mixer.attention.queries(hidden, 0), mixer.attention.keys(hidden, 0)
    read_out = None
    seen = torch.zeros(batch, length, 2 * length, dtype=torch.bool, device=hidden.device)
    if mixer.fading is not None:
        read_out, _ = mixer.fading(hidden, {})
        fading_key, fading_value = mixer.attention.fading_keys(read_out, 0)
        key, value = torch.cat([key, fading_key], dim=2), torch.cat([value, fading_value], dim=2)
    ranks = None if mixer.ranking is None else mixer.ranking.rank(hidden, read_out, {}, 0)[0].tolist()
    for row in range(batch):
        for position in range(length):
            first = mixer.window.first(position)
            seen[row, position, max(0, first) : position + 1] = True
            if ranks is not None:
                seen[row, position, _stored(ranks[row][: max(0, first)], mixer.store.capacity)] = True
            seen[row, position, length + max(0, first - mixer.window.fading) : length + max(0, first)] = True
    shared = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    scores = query @ key.mT * mixer.attention.scaling
    output = scores.masked_fill(~seen[:, None, :, : key.shape[2]], -torch.inf).softmax(-1) @ value
    return mixer.attention.merged(output)


def _stored(ranks: list[int], capacity: int | None) -> list[int]:
    """Positions of the tokens that a store holds after it was shown all of these."""
    best = sorted((position for position, rank in enumerate(ranks) if rank != EMPTY), key=lambda position: -ranks[position])
    return best if capacity is None else best[:capacity]
