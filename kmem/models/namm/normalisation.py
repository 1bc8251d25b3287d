"""Mean and variance of the spectral features, collected before learning and frozen then; part of the checkpoint."""

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_DEVIATION = 1e-7


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """count: tokens seen; mean, variance [bins] float64, the variance of the population."""

    count: float
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, features: Tensor, real: Tensor) -> "Moments":
        """Of features [..., bins] where `real` [...]; where nothing is, a count of 0."""
        rows = features[real].double()
        if not len(rows):
            return cls(count=0.0, mean=rows.new_zeros(rows.shape[-1]), variance=rows.new_zeros(rows.shape[-1]))
        return cls(count=float(len(rows)), mean=rows.mean(0), variance=rows.var(0, correction=0))

    def merge(self, other: "Moments") -> "Moments":
        """Of both together (Chan, Golub and LeVeque 1979): in any order the same up to rounding, and stable."""
        count = self.count + other.count
        if not count:
            return self
        share = other.count / count
        gap = other.mean - self.mean
        return Moments(
            count=count,
            mean=self.mean + gap * share,
            variance=self.variance * (1 - share) + other.variance * share + gap.square() * share * (1 - share),
        )


def normalise(features: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """(features − mean) / max(√variance, 10⁻⁷), in float32."""
    wide = torch.promote_types(features.dtype, torch.float32)
    deviation = variance.sqrt().clamp(min=LEAST_DEVIATION)
    return ((features.to(wide) - mean.to(wide)) / deviation.to(wide)).float()
