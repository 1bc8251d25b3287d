"""What a selector sees and returns."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerView:
    """What a selector may look at: the reference tokens alone, without bracket.

    heads: the H key-value heads shown, ascending: those of the layer that keep any token. Q are the query heads of their groups.
    query [B, Q, T, D] and key [B, H, T, D] before RoPE (after q/k norm where there is one), float32 or wider; rotated_query [B, Q, T, D]
    as the model attends with, rotated_key [B, H, T, D] as it will be stored; value [B, H, T, D]; hidden [B, T, C] what the attention is
    given, the residual stream after its norm; valid [B, T] False on padding; scaling the module's own; chunk_ids B content ids.
    """

    layer: int
    heads: tuple[int, ...]
    query: Tensor
    key: Tensor
    rotated_query: Tensor
    rotated_key: Tensor
    value: Tensor
    hidden: Tensor
    valid: Tensor
    scaling: float
    chunk_ids: tuple[int, ...]


Selector = Callable[[LayerView], Tensor]
"""LayerView → scores [B, H, T]; scores on padding are ignored."""
