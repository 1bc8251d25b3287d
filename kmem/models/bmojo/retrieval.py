"""Reading a part of a large store: each query the blocks of keys that could suit it best.

A block of neighbouring keys is known by the least and the greatest of its numbers, channel by channel, which bound the product of any of
its keys with a query (Quest, arXiv 2406.10774). With as many keys retrieved as there are, all are read.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 16
"""Keys of a block."""


@torch.no_grad()
def bounds_of(key: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest numbers [B, H, b, D] of each block of key [B, H, m, D]; of a block with nothing filled [B, m], zeros."""
    short = -key.shape[2] % BLOCK
    keys = torch.unflatten(F.pad(key, [0, 0, 0, short]), 2, (-1, BLOCK))
    seen = torch.unflatten(F.pad(filled, [0, short]), 1, (-1, BLOCK))[:, None, :, :, None]
    some = seen.any(3)
    least = keys.masked_fill(~seen, torch.inf).amin(3).masked_fill(~some, 0)
    return least, keys.masked_fill(~seen, -torch.inf).amax(3).masked_fill(~some, 0)


@torch.no_grad()
def retrieve(query: Tensor, least: Tensor, greatest: Tensor, filled: Tensor, keys: int) -> tuple[Tensor, Tensor]:
    """Places [B, H, T, R] in the store of what each query [B, Q, T, D] reads, and which of those are filled; R ≥ `keys` in whole blocks.

    least, greatest: as `bounds_of` gives them; filled: [B, m]. The queries of a key-value head read the same places: those of the blocks
    with the highest bound for any of them.
    """
    grouped = torch.unflatten(query, 1, (least.shape[1], -1))
    ups, downs = grouped.clamp(min=0), grouped.clamp(max=0)
    bound = (ups @ greatest[:, :, None].mT + downs @ least[:, :, None].mT).amax(2)  # [B, H, T, b]
    padded = F.pad(filled, [0, -filled.shape[1] % BLOCK])
    some = torch.unflatten(padded, 1, (-1, BLOCK)).any(2)
    bound = bound.masked_fill(~some[:, None, None], -torch.inf)
    blocks = bound.topk(min(-(-keys // BLOCK), bound.shape[-1]), dim=-1).indices
    place = (blocks[..., None] * BLOCK + torch.arange(BLOCK, device=query.device)).flatten(-2)
    seen = padded[:, None, None].expand(*place.shape[:3], -1).gather(3, place)
    return place.clamp(max=filled.shape[1] - 1), seen
