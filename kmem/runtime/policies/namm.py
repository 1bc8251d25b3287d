"""Keep what an evolved network says (NAMM, arXiv 2410.13166)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.kernels.attention_columns import Frames, Rows, column_frames
from kmem.models.namm.checkpoint import load_namm
from kmem.models.namm.ema import frame_decay
from kmem.models.namm.scorer import Namm
from kmem.models.namm.spectrogram import basis
from kmem.runtime.policies.protocol import Tokens, Watch

DEFAULT = "smollm2"
"""The shipped one that the name `namm` stands for."""


@dataclass(frozen=True)
class NammPolicy:
    """Fires every `delay` tokens of its configuration; drops what scores below 0, and with a budget also the lowest scores beyond it."""

    namm: Namm
    decides: bool = True

    @property
    def delay(self) -> int:
        return self.namm.config.delay

    @property
    def protect(self) -> int:
        return self.namm.config.protect

    @property
    def watch(self) -> Watch:
        config = self.namm.config
        return Watch(tokens=config.watched, hop=config.hop, context=config.hop, width=config.bins)

    @property
    def frames(self) -> Frames:
        """What becomes of the rows."""
        config = self.namm.config
        return Frames(basis=basis(config.n_fft), decay=frame_decay(config.ema, config.hop))

    def read(self, rows: Rows, known: Tensor | None, statistics: Tensor) -> tuple[Tensor, Tensor | None]:
        """Takes the rows' frames into the moving average."""
        return column_frames(rows, known, self.frames, statistics)

    def skip(self, statistics: Tensor, tokens: int) -> Tensor:
        """As if those frames had been 0: the average fades."""
        return statistics * self.namm.config.ema**tokens

    def of_few(self, statistics: Tensor, rows: int) -> Tensor:
        """Averages of so many rows alone, as large as if all that is watched had been like them."""
        decay, hop, watched = self.frames.decay, self.namm.config.hop, self.namm.config.watched
        return statistics * ((1 - decay ** (watched // hop)) / (1 - decay ** (rows // hop)))

    @torch.no_grad()
    def scores(self, tokens: Tokens) -> Tensor:
        """The network's. Where heads hold unequal counts each is scored by itself, since the cost grows with their squares."""
        namm = self.namm.to(tokens.key.device)
        heads = tokens.key.shape[1]
        ages = (tokens.end - 1 - tokens.position).masked_fill(~tokens.real, 0)
        bias = namm.bias_of(tokens.layer, layers=tokens.layers, heads=heads)
        begins = tokens.real.any(0).to(torch.int8).argmax(-1).tolist()
        if not any(begins):
            scores: Tensor = namm(namm.features(tokens.statistics, ages), tokens.real, bias)
            return scores
        every = tokens.statistics.new_full(tokens.real.shape, torch.finfo(torch.float32).min, dtype=torch.float32)
        for head, begin in enumerate(begins):
            own = slice(head, head + 1)
            features = namm.features(tokens.statistics[:, own, begin:], ages[:, own, begin:])
            every[:, own, begin:] = namm(features, tokens.real[:, own, begin:], bias if bias is None or not bias.ndim else bias[own])
        return every


def default_namm() -> NammPolicy:
    """The shipped one."""
    return NammPolicy(load_namm(DEFAULT))
