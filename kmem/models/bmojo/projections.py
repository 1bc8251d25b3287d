"""Queries, keys and values of tokens and of read-outs, not yet rotated."""

from torch import Tensor, nn, unflatten

from kmem.kernels.chunked_window import KeyValue
from kmem.models.bmojo.config import BMojoConfig


class Projections(nn.Module):
    """Names as in transformers' Llama. `fades` and not tie_fading: read-outs have projections of their own."""

    def __init__(self, config: BMojoConfig, *, fades: bool) -> None:
        super().__init__()
        size, dim, heads = config.hidden_size, config.head_dim, config.num_key_value_heads
        self.dim = dim
        self.scaling: float = dim**-0.5
        self.q_proj = nn.Linear(size, config.num_attention_heads * dim, bias=False)
        self.k_proj, self.v_proj = (nn.Linear(size, heads * dim, bias=False) for _ in range(2))
        self.o_proj = nn.Linear(config.num_attention_heads * dim, size, bias=False)
        apart = fades and not config.tie_fading
        self.fading_k_proj, self.fading_v_proj = (nn.Linear(size, heads * dim, bias=False) if apart else None for _ in range(2))

    def queries(self, hidden: Tensor) -> Tensor:
        """[B, T, C] → [B, Q, T, D]."""
        return self._heads(self.q_proj(hidden))

    def keys(self, hidden: Tensor) -> KeyValue:
        """[B, T, C] → keys and values [B, H, T, D]."""
        return KeyValue(self._heads(self.k_proj(hidden)), self._heads(self.v_proj(hidden)))

    def fading_keys(self, read_out: Tensor) -> KeyValue:
        """The same of read-outs."""
        if self.fading_k_proj is None or self.fading_v_proj is None:
            return self.keys(read_out)
        return KeyValue(self._heads(self.fading_k_proj(read_out)), self._heads(self.fading_v_proj(read_out)))

    def merged(self, output: Tensor) -> Tensor:
        """[B, T, Q, D] → [B, T, C]."""
        projected: Tensor = self.o_proj(output.flatten(2))
        return projected

    def _heads(self, projected: Tensor) -> Tensor:
        return unflatten(projected, 2, (-1, self.dim)).transpose(1, 2)
