"""Scores of the tokens in a cache: keep those at or above 0."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from kmem.errors import ConfigError
from kmem.models.namm.bam import Bam
from kmem.models.namm.config import NammConfig
from kmem.models.namm.mlp import Mlp
from kmem.models.namm.normalisation import Moments, normalise
from kmem.models.namm.recency import recency


class Namm(nn.Module):
    """One scorer for all layers and heads. Its parameters are zero at first, so every score is 0 and every token is kept.

    head_bias [layers, heads]: where the configuration has them, what each head of the model that it was learnt on adds to its scores.
    `count`, `mean` and `variance` (buffers) are of the spectral features; until `collect` was called they change nothing.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, config: NammConfig | None = None) -> None:
        super().__init__()
        self.config = config or NammConfig()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(self.config.bins, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(self.config.bins, dtype=torch.float64))
        width = self.config.width
        self.net: Bam | Mlp = Bam(width, self.config.hidden) if self.config.scorer == "bam" else Mlp(width)
        self.head_bias = nn.Parameter(torch.zeros(self.config.layers, self.config.heads)) if self.config.layers else None
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()

    def features(self, reduced: Tensor, ages: Tensor) -> Tensor:
        """Averaged spectra [B, H, T, bins] and ages [B, H, T] (newest 0) → ω [B, H, T, width]: recency as it is, spectra normalised."""
        spectral = normalise(reduced, self.mean, self.variance)
        return torch.cat([recency(ages, self.config.recency, self.config.recency_base), spectral], dim=-1)

    def bias_of(self, layer: int | slice, *, layers: int, heads: int) -> Tensor | None:
        """[H], or [L, H] of a slice, of a model of so many layers and key-value heads; the mean where it was learnt on another shape."""
        if self.head_bias is None:
            return None
        if self.head_bias.shape != (layers, heads):
            return self.head_bias.mean()
        return self.head_bias[layer]

    def forward(self, features: Tensor, real: Tensor, bias: Tensor | None = None) -> Tensor:
        """ω [B, H, T, width] in order of time, real [B, H, T], bias [B, H] or [H] (`bias_of`) → scores [B, H, T]; the lowest number there
        is where nothing is real.
        """
        scores: Tensor = self.net(features, real)
        if bias is not None:
            scores = scores + bias[..., None]
        return scores.masked_fill(~real, torch.finfo(scores.dtype).min)

    @torch.no_grad()
    def collect(self, reduced: Tensor, real: Tensor) -> None:
        """Take averaged spectra [B, H, T, bins], where real [B, H, T], into the statistics; before learning, with everything kept."""
        found = Moments.of(reduced, real)
        merged = Moments(count=float(self.count), mean=self.mean, variance=self.variance).merge(found)
        self.count.fill_(merged.count)
        self.mean.copy_(merged.mean)
        self.variance.copy_(merged.variance)


def vector(namm: Namm) -> Tensor:
    """[n] its parameters in one row, for evolution."""
    return parameters_to_vector(namm.parameters()).detach().clone()


def with_vector(namm: Namm, numbers: Tensor) -> Namm:
    """A copy that has these parameters [n]. Raises ConfigError for another count."""
    wanted = sum(parameter.numel() for parameter in namm.parameters())
    if numbers.shape != (wanted,):
        raise ConfigError(f"This NAMM has {wanted} parameters, not {tuple(numbers.shape)}.")
    copied = deepcopy(namm)
    with torch.no_grad():
        vector_to_parameters(numbers.to(vector(namm)), copied.parameters())
    return copied
