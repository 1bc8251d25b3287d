"""How surprised a model is by held-out text, read in pieces of one length, each from its own beginning."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kmem.models.bmojo import BMojoForCausalLM

AT_ONCE = 4096
"""Tokens of a forward pass, at least one piece."""


@torch.no_grad()
def perplexity(model: BMojoForCausalLM, stream: Tensor, length: int, *, every: int) -> float:
    """Exponential of the mean cross-entropy of the stream [n], cut into pieces of `length` tokens; n, `length` are multiples of `every`.

    Tokens whose number in the stream `every` divides are not counted, at any length: they are the first of the shortest pieces.
    """
    device, training = next(model.parameters()).device, model.training
    model.eval()
    total = torch.zeros((), dtype=torch.float64)
    for pieces in torch.split(stream.view(-1, length), max(1, AT_ONCE // length)):
        ids = pieces.to(device)
        logits = model(ids, use_cache=False).logits[:, :-1]
        losses = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)
        counted = torch.arange(1, length, device=device) % every != 0
        total += losses[:, counted].double().sum().cpu()
    model.train(training)
    return math.exp(float(total) / (len(stream) - len(stream) // every))
