"""Keep the first tokens: a floor for every cleverer selector."""

import torch
from torch import Tensor

from kmem.encoder.select.view import LayerView


def first(view: LayerView) -> Tensor:
    """Scores fall with the position."""
    batch, heads, tokens, _ = view.key.shape
    return -torch.arange(tokens, device=view.key.device, dtype=view.key.dtype).expand(batch, heads, tokens)
