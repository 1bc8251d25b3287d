"""Keep random tokens, the same ones for the same chunk on every run."""

import torch
from torch import Tensor

from kmem.encoder.select.view import LayerView
from kmem.identity import content_id
from kmem.profile import SPAN_TOKENS


def random(view: LayerView) -> Tensor:
    """Uniform noise seeded by chunk id and layer: neither the batch nor the order of chunks matters, nor which other heads keep any."""
    tokens, last = view.key.shape[2], view.heads[-1]
    seeds = [content_id(chunk, view.layer) for chunk in view.chunk_ids]
    noise = [torch.rand(last + 1, SPAN_TOKENS, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(noise)[:, list(view.heads), :tokens].to(view.key.device)
