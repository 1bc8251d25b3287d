"""The reference: the recurrence, one token after another."""

import torch
from torch import Tensor


def ssd_scan(value: Tensor, log_decay: Tensor, key: Tensor, query: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Output [B, T, H, D] and the state after the last token [B, H, D, n], both in float32 or wider.

    state_t = exp(log_decay_t) · state_{t−1} + value_t keyᵀ_t and output_t = state_t query_t, for each head.
    value: [B, T, H, D], already times its step size; log_decay: [B, T, H], at most 0; key, query: [B, T, G, n], where G divides H and heads
    follow one another within a group; state: [B, H, D, n] before the first token, None = zeros.
    """
    wide = torch.promote_types(value.dtype, torch.float32)
    batch, length, heads, dim = value.shape
    shared = heads // key.shape[2]
    value, log_decay = value.to(wide), log_decay.to(wide)
    key, query = (part.to(wide).repeat_interleave(shared, dim=2) for part in (key, query))
    now = value.new_zeros(batch, heads, dim, key.shape[-1]) if state is None else state.to(wide)
    outputs = []
    for token in range(length):
        now = log_decay[:, token, :, None, None].exp() * now + value[:, token, :, :, None] * key[:, token, :, None, :]
        outputs.append((now @ query[:, token, :, :, None])[..., 0])
    return torch.stack(outputs, dim=1) if outputs else value, now
