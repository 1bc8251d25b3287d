"""How old a token is, as sines and cosines."""

import torch
from torch import Tensor


def recency(ages: Tensor, features: int, base: float) -> Tensor:
    """Ages [..., T] in tokens, 0 the newest → [..., T, features] float32: sin(r·f_k), then cos(r·f_k), f_k = base^(−2k/features).

    Angles are taken in float64: at an age of 10⁵, float32 would be off by 10⁻² radians.
    """
    half = features // 2
    frequencies = base ** (-torch.arange(half, dtype=torch.float64, device=ages.device) / half)
    angles = ages.double()[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()
