"""The fading memory: Mamba-2's mixer (arXiv 2405.21060), with the parameters' names it has in transformers."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization

from kmem.kernels.ssd_scan import ssd_scan
from kmem.models.bmojo.config import BMojoConfig
from kmem.models.bmojo.convolution import CausalConvolution
from kmem.models.bmojo.state import State


class GatedNorm(nn.Module):
    """Root-mean-square norm of each group of channels after a gate."""

    def __init__(self, channels: int, groups: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.groups, self.epsilon = groups, epsilon

    def forward(self, hidden: Tensor, gate: Tensor) -> Tensor:
        gated = torch.unflatten(hidden * F.silu(gate.to(hidden.dtype)), -1, (self.groups, -1))
        return self.weight * F.rms_norm(gated, gated.shape[-1:], eps=self.epsilon).flatten(-2).to(gate.dtype)


class FadingMemory(nn.Module):
    """x_{t+1} = exp(−a Δ_t) x_t + Δ_t v_t b_tᵀ, and the read-out x_{t+1} c_t of each token: of constant size whatever was read."""

    def __init__(self, config: BMojoConfig) -> None:
        super().__init__()
        self.inner = config.state_expand * config.hidden_size
        self.heads, self.groups, self.width = config.state_heads, config.state_groups, config.state_size
        self.time_steps = (config.time_step_min, config.time_step_max)
        channels = self.inner + 2 * self.groups * self.width
        self.in_proj = nn.Linear(config.hidden_size, self.inner + channels + self.heads, bias=False)
        self.conv1d = CausalConvolution(channels, config.conv_kernel)
        self.dt_bias, self.A_log, self.D = (nn.Parameter(torch.empty(self.heads)) for _ in range(3))
        self.norm = GatedNorm(self.inner, self.groups, config.rms_norm_eps)
        self.out_proj = nn.Linear(self.inner, config.hidden_size, bias=False)
        if self.D.device.type != "meta":
            self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Heads fade at rates 1 … H; time steps are spread evenly in the logarithm. As Mamba-2 does it."""
        low, high = (math.log(step) for step in self.time_steps)
        step = (torch.rand(self.heads) * (high - low) + low).exp()
        initialization.copy_(self.dt_bias, step + torch.log(-torch.expm1(-step)))  # the inverse of softplus
        initialization.copy_(self.A_log, torch.arange(1, self.heads + 1).log())
        initialization.ones_(self.D)

    def forward(self, hidden: Tensor, state: State, past: int = 0) -> tuple[Tensor, State]:
        """Read-outs [B, T, C] of [B, T, C], and the state after them."""
        gate, mixed, step = torch.split(self.in_proj(hidden), [self.inner, self.inner + 2 * self.groups * self.width, self.heads], dim=-1)
        mixed, before = self.conv1d(mixed, state.get("conv"))
        value, key, query = torch.split(F.silu(mixed), [self.inner, *[self.groups * self.width] * 2], dim=-1)
        wide = torch.promote_types(hidden.dtype, torch.float32)
        step = F.softplus(step.to(wide) + self.dt_bias.to(wide))
        value = torch.unflatten(value.to(wide), -1, (self.heads, -1))
        key, query = (torch.unflatten(part, -1, (self.groups, -1)) for part in (key, query))
        output, now = ssd_scan(value * step[..., None], -self.A_log.to(wide).exp() * step, key, query, state.get("state"))
        output = torch.addcmul(output, self.D.to(wide)[:, None], value).flatten(2)
        return self.out_proj(self.norm(output, gate)), {"conv": before, "state": now}
