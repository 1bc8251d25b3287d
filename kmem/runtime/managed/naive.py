"""What managing a cache means, with all keys, all attention and no cache: what the rest is compared with."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kmem.encoder.hook import scaling_of
from kmem.models.namm.ema import average_frames, frame_decay
from kmem.models.namm.spectrogram import spectrogram
from kmem.runtime.managed.kept import kept
from kmem.runtime.managed.rules import Rules
from kmem.runtime.policies.namm import NammPolicy
from kmem.runtime.policies.protocol import Tokens

Statistics = Callable[[Tensor], Tensor]
"""Attention series [B, H, n, rows] that keys got so far, a multiple of the delay long → statistics [B, H, n, width]."""


class NaiveManager:
    """A Handler for a forward pass over one whole text without padding, all of whose layers are managed. Quadratic in its length.

    prompt: tokens of it that are prompt. alive: by layer, which keys [H, n] are left at the end.
    """

    materialise_mask = False

    def __init__(self, rules: Rules, statistics: Statistics, prompt: int) -> None:
        self._rules, self._statistics, self._prompt = rules, statistics, prompt
        self.alive: dict[int, Tensor] = {}

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """Firing by firing: attend under the mask of what is left, then ask the policy about all keys and hide what it drops."""
        heads, length, layer = key.shape[1], query.shape[2], int(module.layer_idx)  # type: ignore[arg-type]
        scores = torch.einsum("bhgqd,bhnd->bhgqn", torch.unflatten(query, 1, (heads, -1)), key) * scaling_of(query, options)
        if options.get("softcap"):
            scores = options["softcap"] * torch.tanh(scores / options["softcap"])
        place = torch.arange(length)
        alive = torch.ones(1, heads, length, dtype=torch.bool)
        weights = scores.new_zeros(scores.shape)
        delay = self._rules.policy.delay or length
        for start in range(0, length, delay):
            end = min(start + delay, length)
            visible = alive[:, :, None] & (place <= place[start:end, None])
            weights[:, :, :, start:end] = scores[:, :, :, start:end].masked_fill(~visible[:, :, None], -torch.inf).softmax(-1)
            if self._rules.policy.delay and end == start + delay:
                real = alive & (place < end)
                tokens = Tokens(
                    layer=layer,
                    layers=self._rules.layers,
                    key=key,
                    position=place.masked_fill(~real, -1),
                    real=real,
                    statistics=self._statistics(weights[:, :, :, :end].mean(2).transpose(-1, -2)),
                    end=end,
                    budget=self._rules.budget,
                )
                stays = kept(self._rules.policy, tokens, prompt=min(self._prompt, length), greediest=self._rules.greediest)
                alive = stays | (place >= end)
        self.alive[layer] = alive[0]
        return torch.einsum("bhgqn,bhnd->bqhgd", weights, value).flatten(2, 3), None


def namm_statistics(policy: NammPolicy) -> Statistics:
    """From the whole spectrogram of each series, with silence before it; frames that are not watched count as silent."""
    config = policy.namm.config

    def statistics(series: Tensor) -> Tensor:
        frames = spectrogram(torch.nn.functional.pad(series, (config.hop, 0)), config.n_fft, config.hop)
        unwatched = (config.delay - config.watched) // config.hop
        silent = torch.arange(frames.shape[-2]) % (config.delay // config.hop) < unwatched
        heard = frames.masked_fill(silent[:, None], 0.0)
        return average_frames(heard, heard.new_zeros(*heard.shape[:-2], config.bins), frame_decay(config.ema, config.hop))

    return statistics
