"""Keep the tokens with the largest values: what is added to the stream when they are read."""

import torch
from torch import Tensor

from kmem.encoder.select.view import LayerView


def vnorm(view: LayerView) -> Tensor:
    """‖v_j‖."""
    norm: Tensor = torch.linalg.vector_norm(view.value.to(view.key.dtype), dim=-1)
    return norm
