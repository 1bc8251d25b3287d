"""The variant that looks at each token by itself."""

from torch import Tensor, nn


class Mlp(nn.Module):
    """Features [B, H, T, width] → scores [B, H, T]: ω + relu(W·ω), then a sum with weights. All parameters zero at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1)

    def forward(self, features: Tensor, real: Tensor) -> Tensor:
        """As Bam's; `real` changes nothing."""
        scores: Tensor = self.score(features + self.mix(features).relu())
        return scores.squeeze(-1)
