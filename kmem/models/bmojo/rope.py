"""Rotary positions (arXiv 2104.09864), halves rotated as in Llama."""

import torch
from torch import Tensor, nn

Rotation = tuple[Tensor, Tensor]
"""cos and sin [B or 1, T, D], float32 or wider; D is 0 where there are no positions."""


class RotaryEmbedding(nn.Module):
    """base: None = no positions."""

    def __init__(self, dim: int, base: float | None) -> None:
        super().__init__()
        self.dim, self.base = (0, 1.0) if base is None else (dim, base)

    def forward(self, hidden: Tensor, position_ids: Tensor) -> Rotation:
        """Of tokens at position_ids [B or 1, T], in the type that numbers like `hidden` are rotated in."""
        wide = torch.promote_types(hidden.dtype, torch.float32)
        frequencies = self.base ** (torch.arange(0, self.dim, 2, device=hidden.device, dtype=wide) / -max(1, self.dim))
        angles = (position_ids[..., None].to(wide) * frequencies).repeat(1, 1, 2)
        return angles.cos(), angles.sin()


def rotate(part: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[B, H, T, D] queries or keys, rotated."""
    half = cos.shape[-1] // 2
    if not half:
        return part
    cos, sin = cos[:, None, :, :half], sin[:, None, :, :half]
    left, right = part.to(cos.dtype).chunk(2, dim=-1)
    turned = [torch.addcmul(left * cos, right, sin, value=-1), torch.addcmul(right * cos, left, sin)]
    return torch.cat(turned, dim=-1).to(part.dtype)


def apply_rotary_pos_emb(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> Rotation:
    """Both, rotated; the name it has in transformers, where whoever undoes it looks for it."""
    return rotate(query, cos, sin), rotate(key, cos, sin)
