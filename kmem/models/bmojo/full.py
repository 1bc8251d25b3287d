"""Causal attention over everything: the `transformer` control. Its state grows with every token."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kmem.kernels.chunked_window import Attended
from kmem.kernels.memory_attention.context import context_attention
from kmem.models.bmojo.config import BMojoConfig
from kmem.models.bmojo.interface import ALL_ATTENTION_FUNCTIONS, own_attention
from kmem.models.bmojo.projections import Projections
from kmem.models.bmojo.rope import Rotation, apply_rotary_pos_emb
from kmem.models.bmojo.state import State


class FullAttention(nn.Module):
    def __init__(self, config: BMojoConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.attention = Projections(config, fades=False)
        self.shared = config.num_attention_heads // config.num_key_value_heads

    def forward(
        self, hidden: Tensor, state: State, past: int, *, position_embeddings: Rotation, goes_on: bool = True
    ) -> tuple[Tensor, State]:
        """[B, T, C] → [B, T, C], and the state where a later call wants it."""
        fresh, value = self.attention.keys(hidden)
        query, fresh = apply_rotary_pos_emb(self.attention.queries(hidden), fresh, *position_embeddings)
        after = {"key": fresh, "value": value}
        if state:
            after = {name: torch.cat([state[name], part], dim=2) for name, part in after.items()}

        def alone(*, lse: bool = False) -> Attended:
            return self._alone(query, after["key"], after["value"], past, lse=lse)

        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, own_attention)
        output, _ = attention(self, query, fresh, value, None, scaling=self.attention.scaling, alone=alone)
        return self.attention.merged(output), after if goes_on else {}

    def _alone(self, query: Tensor, key: Tensor, value: Tensor, past: int, *, lse: bool) -> Attended:
        """Of query [B, Q, T, D] over key, value [B, H, past + T, D]."""
        if lse:
            return Attended(*context_attention(query, key, value, None, scaling=self.attention.scaling, softcap=None))
        every, keys = (part.repeat_interleave(self.shared, dim=1) if self.shared > 1 else part for part in (value, key))
        mask = None
        if past and query.shape[2] > 1:
            mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=key.device).tril(past)
        output = F.scaled_dot_product_attention(query, keys, every, attn_mask=mask, is_causal=not past, scale=self.attention.scaling)
        return Attended(output, None)
