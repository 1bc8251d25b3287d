"""A cheap start: the scorer learns which tokens will be read, from recordings, before anything is evolved."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from kmem.models.namm.scorer import Namm, vector, with_vector
from kmem.progress import Progress, silent
from kmem.training.namm.members import kept
from kmem.training.namm.recipe import RegressionConfig
from kmem.training.namm.recording import Firing, Recording

FLOOR = 1e-6
"""Attention, or nats, below which a token is worth nothing."""
MOST = 3.0
"""Standard deviations beyond which a worth does not pull any farther."""
HALVINGS = 12
SHIFT = 8.0
"""The threshold that keeps the share asked is looked for between plus and minus this."""
CALIBRATED_ON = 8
"""Recordings, at most."""
CLIP = 1.0


def worth(recording: Recording, firing: Firing, config: RegressionConfig) -> Tensor:
    """[L, H, n] log of what each token will still be worth at a firing: its effect on the answer, or the attention that it will get."""
    if config.target == "effect":
        return recording.effect[..., : firing.end].clamp(min=FLOOR).log()
    asked = recording.asked[..., : firing.end]
    return (config.asked * asked + (1 - config.asked) * firing.later).clamp(min=FLOOR).log()


def started(namm: Namm, *, seed: int) -> Namm:
    """A copy whose weights are small and random, those of the outputs 0: at zero everywhere no gradient reaches what mixes tokens."""
    copied = with_vector(namm, vector(namm))
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in copied.net.named_parameters():
            if parameter.ndim > 1 and not name.startswith(("out.", "score.")):
                parameter.normal_(std=1 / math.sqrt(parameter.shape[1]), generator=random)
    return copied


def regress(
    namm: Namm, recordings: Sequence[Recording], config: RegressionConfig, *, share: float, seed: int, progress: Progress = silent
) -> tuple[Namm, list[float]]:
    """A NAMM with the statistics of `namm` whose scores are the worth of tokens less what keeps `share` of the cache; the losses.

    Worth is told in standard deviations from the value that `share` of all tokens exceed, so that 0 is where to cut.
    """
    learnt = started(namm, seed=seed).requires_grad_(True).train()
    cut, deviation = _scale(recordings, config, share)
    optimizer = torch.optim.Adam(learnt.parameters(), lr=config.learning_rate)
    random = np.random.default_rng([seed, len(recordings)])
    losses = []
    progress("regression", 0, config.steps)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (1 + math.cos(math.pi * step / config.steps)) / 2
        recording = recordings[int(random.integers(len(recordings)))]
        firing = recording.firings[int(random.integers(len(recording.firings)))]
        layers = torch.from_numpy(random.integers(len(firing.statistics), size=config.batch_size))
        statistics = firing.statistics[layers]
        ages = torch.arange(firing.end - 1, -1, -1).expand(statistics.shape[:3])
        found = learnt(learnt.features(statistics, ages), torch.ones_like(ages, dtype=torch.bool))
        wanted = ((worth(recording, firing, config)[layers] - cut) / deviation).clamp(-MOST, MOST)
        loss = smooth_l1_loss(found, wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation there
        torch.nn.utils.clip_grad_norm_(learnt.parameters(), CLIP)
        optimizer.step()
        losses.append(float(loss.detach()))
        progress("regression", step + 1, config.steps)
    return calibrated(learnt.requires_grad_(False).eval(), recordings, share=share), losses


def calibrated(namm: Namm, recordings: Sequence[Recording], *, share: float) -> Namm:
    """A copy whose scores are moved, all alike, so that it keeps `share` of the recorded caches, as nearly as halving finds."""
    some = recordings[:: max(1, len(recordings) // CALIBRATED_ON)][:CALIBRATED_ON]
    low, high, moved = -SHIFT, SHIFT, with_vector(namm, vector(namm))
    bias = float(namm.net.score.bias.detach())
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        with torch.no_grad():
            moved.net.score.bias.fill_(bias + middle)
        held = sum(float(kept(moved, recording).float().mean()) for recording in some) / len(some)
        low, high = (low, middle) if held > share else (middle, high)
    return moved


def _scale(recordings: Sequence[Recording], config: RegressionConfig, share: float) -> tuple[float, float]:
    """The worth that `share` of all tokens exceed, and the standard deviation of worth."""
    every = torch.cat([worth(recording, firing, config).flatten() for recording in recordings for firing in recording.firings]).double()
    index = max(1, round((1 - share) * len(every)))
    return float(every.kthvalue(index).values), max(float(every.std(correction=0)), FLOOR)
