"""Keep random tokens, the same ones for the same chunk on every run."""

import torch
from torch import Tensor

from kmem.encoder.select.view import LayerView
from kmem.identity import content_id
from kmem.profile import SPAN_TOKENS


def random(view: LayerView) -> Tensor:
    """Uniform noise seeded by chunk id and layer, so neither the batch nor the order of chunks matters."""
    _, heads, tokens, _ = view.key.shape
    seeds = [content_id(chunk, view.layer) for chunk in view.chunk_ids]
    noise = [torch.rand(heads, SPAN_TOKENS, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(noise)[..., :tokens].to(view.key.device)
