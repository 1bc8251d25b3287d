"""Reading a prompt once, with everything kept."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from kmem.errors import UnsupportedModelError
from kmem.models.namm.scorer import Namm
from kmem.runtime.manage import manage
from kmem.training.namm.recorder import Recorder
from kmem.training.namm.recording import Firing, Recording
from kmem.training.namm.replay import Prefix, effects, replay
from kmem.training.namm.tasks import Example


def record(model: PreTrainedModel, example: Example, namm: Namm) -> Recording:
    """What a NAMM of this shape would be shown at each firing, what came of every token later, the cache, and the full cache's score.

    Firings do not see each other's drops, as they will when it is used. Raises UnsupportedModelError for a model with a sliding window.
    """
    recorder = Recorder(namm)
    with torch.no_grad(), manage(model, recorder):
        read = model(input_ids=torch.tensor([example.texts], device=model.device), use_cache=True, logits_to_keep=1)
    key, value = _cached(read.past_key_values, len(example.texts))
    everything = torch.ones(1, *key.shape[:3], dtype=torch.bool, device=key.device)
    full = float(replay(model, example, Prefix(key=key, value=value, keep=everything)))
    gated = Prefix(key=key, value=value, keep=everything, gate=torch.zeros(key.shape[:3], device=key.device))
    effect = effects(model, example, gated).cpu()
    return Recording(
        example=example,
        key=key.cpu(),
        value=value.cpu(),
        asked=torch.stack(gated.paid).cpu(),
        effect=effect,
        firings=_firings(recorder),
        full=full,
    )


def _cached(cache: Any, tokens: int) -> tuple[Tensor, Tensor]:
    layers = [(layer.keys[0], layer.values[0]) for layer in cache.layers]
    if any(key.shape[1] != tokens for key, _ in layers):
        raise UnsupportedModelError(
            "Some layers of this model see a sliding window alone; learn a NAMM on one whose layers see everything."
        )
    return torch.stack([key for key, _ in layers]), torch.stack([value for _, value in layers])


def _firings(recorder: Recorder) -> tuple[Firing, ...]:
    by_firing = list(zip(*(recorder.seen[layer] for layer in sorted(recorder.seen)), strict=True))
    received = [torch.stack([seen.received for seen in layers]) for layers in by_firing]
    found = []
    for index, layers in enumerate(by_firing):
        end = layers[0].end
        rows = max(1, by_firing[-1][0].end - end)
        later = (received[-1][..., :end] - received[index]) / rows
        statistics = torch.stack([seen.statistics for seen in layers])
        found.append(Firing(end=end, statistics=statistics, later=later))
    return tuple(found)
