"""One layer: a mixer, then a SwiGLU, each after a norm and beside a residual."""

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from kmem.models.bmojo.config import BMojoConfig
from kmem.models.bmojo.mixers import mixer
from kmem.models.bmojo.rope import Rotation
from kmem.models.bmojo.state import State
from kmem.models.bmojo.variants import WITHOUT_ATTENTION


class SwiGLU(nn.Module):
    def __init__(self, config: BMojoConfig) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(config.hidden_size, config.intermediate_size, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        down: Tensor = self.down_proj(F.silu(self.gate_proj(hidden)) * self.up_proj(hidden))
        return down


class Block(GradientCheckpointingLayer):  # type: ignore[misc]  # transformers is untyped here
    """attends: whether its mixer is an attention, which explicit memories can join."""

    def __init__(self, config: BMojoConfig, layer: int) -> None:
        super().__init__()
        self.mixer_norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.attends = config.mixers[layer] not in WITHOUT_ATTENTION
        self.mixer = mixer(config, layer)
        self.mlp_norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps) if config.intermediate_size else None
        self.mlp = SwiGLU(config) if config.intermediate_size else None

    def forward(self, hidden: Tensor, state: State, past: int, rotation: Rotation, goes_on: bool) -> tuple[Tensor, State]:
        """[B, T, C] → [B, T, C], and the mixer's state, which is wanted where the text goes on."""
        attending = {"position_embeddings": rotation, "goes_on": goes_on} if self.attends else {}
        mixed, after = self.mixer(self.mixer_norm(hidden), state, past, **attending)
        hidden = hidden + mixed
        if self.mlp_norm is not None and self.mlp is not None:
            hidden = hidden + self.mlp(self.mlp_norm(hidden))
        return hidden, after
