"""The paper's scorer: a token looks at newer ones (backward attention memory, BAM); what it sees adds to its features and scales them."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Bam(nn.Module):
    """Features [B, H, T, width] → scores [B, H, T]. At the paper's size (25 features, 32 channels) 4,172 parameters, all zero at first."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * hidden)
        self.out = nn.Linear(hidden, 2 * width)
        self.score = nn.Linear(width, 1)

    def forward(self, features: Tensor, real: Tensor) -> Tensor:
        """Tokens are in order of time; `real` [B, H, T] is False where there is none, and nobody looks there."""
        query, key, value = self.qkv(features).chunk(3, dim=-1)
        seen = _newer(query, key, value, real)
        added, scaled = self.out(seen).chunk(2, dim=-1)
        scores: Tensor = self.score(features * (1 + scaled) + added)
        return scores.squeeze(-1)


def _newer(query: Tensor, key: Tensor, value: Tensor, real: Tensor) -> Tensor:
    """Attention of token i to tokens j ≥ i. Turned around it is causal, which torch's kernel knows how to do without a mask, and it stays
    so where what is not real lies before all that is.
    """
    if bool((real[..., 1:] >= real[..., :-1]).all()):
        query, key, value = (part.flip(-2) for part in (query, key, value))
        return scaled_dot_product_attention(query, key, value, is_causal=True).flip(-2)
    tokens = query.shape[-2]
    newer = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).triu()
    itself = torch.eye(tokens, dtype=torch.bool, device=query.device)
    return scaled_dot_product_attention(query, key, value, attn_mask=(newer & real[..., None, :]) | itself)
