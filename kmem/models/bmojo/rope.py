"""Rotary positions (arXiv 2104.09864), halves rotated as in Llama."""

import torch
from torch import Tensor


def rotate(part: Tensor, first: int, base: float | None) -> Tensor:
    """[B, H, T, D] queries or keys of positions first … first + T − 1, rotated; as they are where base is None."""
    if base is None:
        return part
    wide = torch.promote_types(part.dtype, torch.float32)
    length, dim = part.shape[-2:]
    places = torch.arange(first, first + length, device=part.device, dtype=wide)
    frequencies = base ** (torch.arange(0, dim, 2, device=part.device, dtype=wide) / -dim)
    angles = places[:, None] * frequencies
    left, right = part.to(wide).chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1).to(part.dtype)
