"""The way out of a layer's attention: transformers' AttentionInterface, through which others may be read under the same softmax."""

from typing import Protocol

from torch import Tensor, nn
from transformers import AttentionInterface

from kmem.kernels.chunked_window import Attended


class Alone(Protocol):
    """A layer's own attention, over all that it sees of the tokens it has read; called once a forward pass."""

    def __call__(self, *, lse: bool = False) -> Attended:
        """lse: whether it is wanted, so that more can join the softmax afterwards."""
        ...


def own_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *, scaling: float, alone: Alone
) -> tuple[Tensor, None]:
    """What a layer calls unless another function is set → [B, T, Q, D]."""
    return alone().output.transpose(1, 2), None


ALL_ATTENTION_FUNCTIONS = AttentionInterface()
"""Functions that are given query [B, Q, T, D], the new tokens' key and value [B, H, T, D], no mask, and `alone`: keys side by side and a
mask would be as large as the square of the text. `sdpa` and `eager` are our own.
"""
for _name in ("sdpa", "eager"):
    ALL_ATTENTION_FUNCTIONS[_name] = own_attention
