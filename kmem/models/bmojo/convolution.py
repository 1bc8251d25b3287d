"""A short causal convolution of each channel, and the gated one that is a mixer of its own (Zoology's BaseConv, arXiv 2312.04927)."""

from typing import Any

import torch
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
        output: Tensor = _Taps.apply(joined, self.weight[:, 0], self.bias)  # type: ignore[no-untyped-call]  # torch is untyped here
        return output, cut(joined, hidden.shape[1])


class _Taps(torch.autograd.Function):
    """F.conv1d with a group a channel, tap by tap over [B, T, C]: conv1d's output lies channel by channel, which all behind it pays for."""

    @staticmethod
    def forward(ctx: Any, joined: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """[B, T + taps − 1, C], [C, taps], [C] → [B, T, C]."""
        ctx.save_for_backward(joined, weight)
        taps = weight.unbind(1)
        length = joined.shape[1] - len(taps) + 1
        output = torch.addcmul(bias, joined[:, :length], taps[0])
        for first, tap in enumerate(taps[1:], 1):
            output.addcmul_(joined[:, first : first + length], tap)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        joined, weight = ctx.saved_tensors
        length, moved, taps = gradient.shape[1], torch.zeros_like(joined), []
        for first, tap in enumerate(weight.unbind(1)):
            moved[:, first : first + length].addcmul_(gradient, tap)
            taps.append((joined[:, first : first + length] * gradient).sum((0, 1)))
        return moved, torch.stack(taps, dim=1), gradient.sum((0, 1))


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
