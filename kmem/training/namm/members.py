"""What members of a population keep of a recorded prompt, and how well they answer from it."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from kmem.models.namm.scorer import Namm
from kmem.training.namm.recording import Firing, Recording
from kmem.training.namm.replay import Prefix, replay


def evaluate(model: PreTrainedModel, members: Sequence[Namm], recording: Recording) -> tuple[Tensor, Tensor]:
    """[B] scores and [B] shares of the cache kept, of one recorded prompt."""
    keep = torch.stack([kept(namm, recording) for namm in members])
    device = model.device
    prefix = Prefix(key=recording.key.to(device), value=recording.value.to(device), keep=keep.to(device))
    return replay(model, recording.example, prefix), torch.flatten(keep, 1).float().mean(dim=1)


@torch.no_grad()
def kept(namm: Namm, recording: Recording) -> Tensor:
    """[L, H, T] bool: what stays after all firings; a token that one of them dropped is not seen by the next."""
    keep = torch.ones(recording.key.shape[:3], dtype=torch.bool)
    for firing in recording.firings:
        real = keep[..., : firing.end]
        real &= scores(namm, firing, real) >= 0
    return keep


def scores(namm: Namm, firing: Firing, real: Tensor) -> Tensor:
    """[L, H, n] of the tokens that are still real; infinite for the newest, which are protected."""
    ages = torch.arange(firing.end - 1, -1, -1).expand(real.shape)
    layers, heads = real.shape[:2]
    bias = namm.bias_of(slice(None), layers=layers, heads=heads)
    found = compact(namm, namm.features(firing.statistics, ages), real, bias)
    protected = ages < namm.config.protect
    return found.masked_fill(protected & real, torch.inf)


def compact(namm: Namm, features: Tensor, real: Tensor, bias: Tensor | None) -> Tensor:
    """Scores [L, H, n] of features [L, H, n, width], computed over the real tokens alone: they are moved to the end, and back."""
    if bool(real.all()):
        found: Tensor = namm(features, real, bias)
        return found
    longest = int(real.sum(dim=-1).max())
    order = real.to(torch.int8).argsort(dim=-1, stable=True)[..., -longest:]
    chosen = torch.gather(features, 2, order[..., None].expand(*order.shape, features.shape[-1]))
    inside: Tensor = namm(chosen, torch.gather(real, 2, order), bias)
    lowest = torch.full(real.shape, torch.finfo(inside.dtype).min)
    return lowest.scatter(2, order, inside)
