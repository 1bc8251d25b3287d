"""Rotary positions (arXiv 2104.09864), halves rotated as in Llama."""

from functools import lru_cache

import torch
from torch import Tensor


def rotate(part: Tensor, first: int, base: float | None) -> Tensor:
    """[B, H, T, D] queries or keys of positions first … first + T − 1, rotated; as they are where base is None."""
    if base is None:
        return part
    wide = torch.promote_types(part.dtype, torch.float32)
    cos, sin = _turns(first, *part.shape[-2:], base, wide, part.device)
    left, right = part.to(wide).chunk(2, dim=-1)
    turned = [torch.addcmul(left * cos, right, sin, value=-1), torch.addcmul(right * cos, left, sin)]
    return torch.cat(turned, dim=-1).to(part.dtype)


@lru_cache(maxsize=4)  # queries, keys and read-outs of all layers ask for the same
@torch.inference_mode(False)  # what is made by inference can't be used by training
def _turns(first: int, length: int, dim: int, base: float, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines [T, D/2]."""
    places = torch.arange(first, first + length, device=device, dtype=dtype)
    frequencies = base ** (torch.arange(0, dim, 2, device=device, dtype=dtype) / -dim)
    angles = places[:, None] * frequencies
    return angles.cos(), angles.sin()
