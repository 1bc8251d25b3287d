"""A short causal convolution of each channel, and the gated one that is a mixer of its own (Zoology's BaseConv, arXiv 2312.04927)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kmem.models.bmojo.config import BMojoConfig
from kmem.models.bmojo.state import State, cut


class CausalConvolution(nn.Module):
    """One filter of `kernel` taps a channel. Parameters as those of nn.Conv1d."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.kernel = kernel
        nn.init.uniform_(self.weight, -(kernel**-0.5), kernel**-0.5)

    def forward(self, hidden: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Hidden [B, T, C] after `before` [B, kernel − 1, C] (None = zeros) → output [B, T, C] and what stands before the next token."""
        if before is None:
            before = hidden.new_zeros(len(hidden), self.kernel - 1, hidden.shape[2])
        joined = torch.cat([before, hidden], dim=1)
        output = F.conv1d(joined.mT, self.weight, self.bias, groups=joined.shape[2]).mT
        return output, cut(joined, hidden.shape[1])


class ConvolutionMixer(nn.Module):
    """Out of a token and the few before it: convolution times gate."""

    def __init__(self, config: BMojoConfig) -> None:
        super().__init__()
        self.conv1d = CausalConvolution(config.hidden_size, config.conv_kernel)
        self.gate_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor, state: State, past: int) -> tuple[Tensor, State]:
        """[B, T, C] → [B, T, C]."""
        mixed, before = self.conv1d(hidden, state.get("conv"))
        return self.out_proj(mixed * self.gate_proj(hidden)), {"conv": before}
