"""How badly a fixed predictor foresaw a token. Not learned, and no gradient flows through it."""

import torch
import torch.nn.functional as F
from torch import Tensor

PREDICTORS = ("average", "state")


def average_before(hidden: Tensor, recent: Tensor | None, tokens: int) -> tuple[Tensor, Tensor]:
    """Prediction [B, T, C] of each token: the mean of up to `tokens` before it, 0 for the first; and the `recent` of the next call.

    hidden: [B, T, C]; recent: [B, r ≤ tokens, C], the tokens right before, None = there are none.
    """
    length = hidden.shape[1]
    joined = hidden if recent is None else torch.cat([recent, hidden], dim=1)
    known = joined.shape[1] - length
    padded = F.pad(joined, [0, 0, tokens - known, 0])
    total = padded[:, :length].clone()
    for shift in range(1, tokens):
        total += padded[:, shift : shift + length]
    total /= (known + torch.arange(length, device=hidden.device)).clamp(1, tokens)[:, None]
    return total, joined[:, -tokens:].clone()


def read_out_before(read_out: Tensor, last: Tensor | None) -> tuple[Tensor, Tensor]:
    """Prediction [B, T, C] of each token: the state's read-out [B, T, C] at the one before, 0 for the first; and the last read-out."""
    first = torch.zeros_like(read_out[:, :1]) if last is None else last
    return torch.cat([first, read_out[:, :-1]], dim=1), read_out[:, -1:].clone()


def prediction_error(hidden: Tensor, predicted: Tensor) -> Tensor:
    """[B, T] mean square over channels of the difference, each side normalised first, so that only direction counts: 0 to 4."""
    wide = torch.promote_types(hidden.dtype, torch.float32)
    seen, foreseen = (F.layer_norm(part.to(wide), part.shape[-1:]) for part in (hidden, predicted))
    distance: Tensor = torch.linalg.vector_norm(seen - foreseen, dim=-1)
    return distance.square() / hidden.shape[-1]
