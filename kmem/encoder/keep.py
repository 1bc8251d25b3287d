"""From scores to slots: the `budget` best tokens of every head, ascending, in a record of fixed size."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kmem.memories import EMPTY_SLOT


def keep_positions(scores: Tensor, valid: Tensor, budget: Sequence[int]) -> Tensor:
    """Token positions [B, S_l] kept in one layer, heads one after another, ascending within a head, EMPTY_SLOT where a chunk is short.

    scores [B, H, T], higher = kept, ties by position; valid [B, T] with padding on the right; budget H token budgets.
    """
    tokens = valid.shape[1]
    ranked = scores.masked_fill(~valid[:, None], float("-inf")).sort(dim=-1, descending=True, stable=True).indices
    past_end = tokens  # sorts behind every real token
    ranked = ranked.masked_fill(~valid[:, None].expand_as(ranked).gather(-1, ranked), past_end)
    columns = []
    for head, kept in enumerate(budget):
        best = ranked[:, head, : min(kept, tokens)].sort(dim=-1).values
        columns.append(torch.nn.functional.pad(best, (0, kept - best.shape[1]), value=past_end))
    positions = torch.cat(columns, dim=1)
    return positions.masked_fill(positions == past_end, EMPTY_SLOT).to(torch.uint8)


def gather_slots(states: Tensor, positions: Tensor, slot_head: Tensor) -> Tensor:
    """States [B, H, T, D] at positions [B, S_l] of heads slot_head [S_l] → [B, S_l, D], zero where a slot is empty."""
    empty = positions == EMPTY_SLOT
    rows = torch.arange(states.shape[0], device=states.device)[:, None]
    picked = states[rows, slot_head[None], positions.long().masked_fill(empty, 0)]
    return picked.masked_fill(empty[..., None], 0)
