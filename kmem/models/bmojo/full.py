"""Causal attention over everything: the `transformer` control. Its state grows with every token."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kmem.models.bmojo.config import BMojoConfig
from kmem.models.bmojo.projections import Projections
from kmem.models.bmojo.state import State


class FullAttention(nn.Module):
    def __init__(self, config: BMojoConfig, layer: int) -> None:
        super().__init__()
        self.attention = Projections(config, fades=False)
        self.shared = config.num_attention_heads // config.num_key_value_heads

    def forward(self, hidden: Tensor, state: State, past: int) -> tuple[Tensor, State]:
        """[B, T, C] → [B, T, C]."""
        query, (key, value) = self.attention.queries(hidden, past), self.attention.keys(hidden, past)
        if state:
            key, value = torch.cat([state["key"], key], dim=2), torch.cat([state["value"], value], dim=2)
        every, keys = (part.repeat_interleave(self.shared, dim=1) if self.shared > 1 else part for part in (value, key))
        mask = None
        if past and query.shape[2] > 1:
            mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=key.device).tril(past)
        output = F.scaled_dot_product_attention(query, keys, every, attn_mask=mask, is_causal=not past, scale=self.attention.scaling)
        return self.attention.merged(output), {"key": key, "value": value}
