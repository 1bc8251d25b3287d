"""Scores as gates in the softmax: what lets the answer say, by one backward pass, which tokens of which heads it needs."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from kmem.models.namm.scorer import Namm
from kmem.training.namm.members import scores
from kmem.training.namm.recording import Recording


def gates(namm: Namm, recording: Recording, temperature: float) -> tuple[Tensor, Tensor]:
    """[L, H, T] log gates, with gradient, Σ log σ(score / temperature) over the firings that saw a token; and how fast they rise with the
    last bias. What an earlier firing drops, a later one doesn't see; what is protected is open.
    """
    shape = recording.key.shape[:3]
    gate, slope, keep = torch.zeros(shape), torch.zeros(shape), torch.ones(shape, dtype=torch.bool)
    for firing in recording.firings:
        real = keep[..., : firing.end].clone()
        found = scores(namm, firing, real)
        free = real & found.isfinite()
        logit = found.masked_fill(~free, 0.0) / temperature
        rest = shape[-1] - firing.end
        gate = gate + pad(logsigmoid(logit).masked_fill(~free, 0.0), (0, rest))
        slope += pad(torch.sigmoid(-logit.detach()).masked_fill(~free, 0.0) / temperature, (0, rest))
        keep[..., : firing.end] = real & (found >= 0)
    return gate, slope
