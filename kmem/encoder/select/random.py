"""Keep random tokens, the same ones for the same chunk on every run."""

import torch
from torch import Tensor

from kmem.encoder.select.view import LayerView


def random(view: LayerView) -> Tensor:
    """Uniform noise seeded by chunk id and layer, so neither the batch nor the order of chunks matters."""
    _, heads, tokens, _ = view.key.shape
    noise = [torch.rand(heads, tokens, generator=torch.Generator().manual_seed((chunk + view.layer) % 2**63)) for chunk in view.chunk_ids]
    return torch.stack(noise).to(view.key.device)
