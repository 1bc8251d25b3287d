"""Rotary positions (arXiv 2104.09864), halves rotated as in Llama."""

import torch
from torch import Tensor, nn

Rotation = tuple[Tensor, Tensor]
"""cos and sin [B or 1, T, D], float32 or wider."""


class RotaryEmbedding(nn.Module):
    """base: None = no positions, every angle is 0."""

    def __init__(self, dim: int, base: float | None) -> None:
        super().__init__()
        self.dim, self.base = dim, base

    def forward(self, hidden: Tensor, position_ids: Tensor) -> Rotation:
        """Of tokens at position_ids [B or 1, T], in the type that numbers like `hidden` are rotated in."""
        wide = torch.promote_types(hidden.dtype, torch.float32)
        halves = torch.arange(0, self.dim, 2, device=hidden.device, dtype=wide)
        frequencies = halves * 0 if self.base is None else self.base ** (halves / -self.dim)
        angles = position_ids[..., None].to(wide) * frequencies
        angles = torch.cat([angles, angles], dim=-1)[..., : self.dim]
        return angles.cos(), angles.sin()


def rotate(part: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[B, H, T, D] queries or keys, rotated."""
    wide = part.to(cos.dtype)
    left, right = wide.chunk(2, dim=-1)
    return torch.addcmul(wide * cos[:, None], torch.cat([-right, left], dim=-1), sin[:, None]).to(part.dtype)


def apply_rotary_pos_emb(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> Rotation:
    """Both, rotated; the name it has in transformers, where whoever undoes it looks for it."""
    return rotate(query, cos, sin), rotate(key, cos, sin)
