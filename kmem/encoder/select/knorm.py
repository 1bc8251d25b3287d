"""Keep the tokens with the smallest keys: a small norm goes with much attention (Devoto et al., arXiv 2406.11430)."""

import torch
from torch import Tensor

from kmem.encoder.select.view import LayerView


def knorm(view: LayerView) -> Tensor:
    """−‖k_j‖, which RoPE leaves as it is."""
    norm: Tensor = torch.linalg.vector_norm(view.key, dim=-1)
    return -norm
