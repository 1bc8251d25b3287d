"""Dense memories whose slots lie in the order the selector ranks them, so that any budget is a matter of how many are let through."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.encoder.encode import Encoder
from kmem.encoder.select import LayerView
from kmem.profile import SPAN_TOKENS
from kmem.progress import Progress, silent


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedMemories:
    """N memories: key and value [N, L, H, 128, D], best token of each head first; filled [N, 128], False beyond a short reference.

    All in main memory, wherever the model is.
    """

    key: Tensor
    value: Tensor
    filled: Tensor
    bracket: Tensor

    def __len__(self) -> int:
        return len(self.filled)


def rank_memories(encoder: Encoder, references: Sequence[Sequence[int]], *, progress: Progress = silent) -> RankedMemories:
    """Encode references (token ids) with an encoder whose profile has a budget at every layer that is to be ranked."""
    profile, dim = encoder.profile, encoder.spec.head_dim
    shape = (len(references), profile.layers, profile.heads, SPAN_TOKENS, dim)
    key = torch.zeros(shape, dtype=encoder.model.dtype)
    value = torch.zeros_like(key)
    filled = torch.zeros(len(references), SPAN_TOKENS, dtype=torch.bool)
    order = sorted(range(len(references)), key=lambda index: len(references[index]))
    size = encoder.config.batch_size
    progress("encode", 0, len(order))
    for start in range(0, len(order), size):
        rows = order[start : start + size]

        def keep(view: LayerView, rows: list[int] = rows) -> None:
            scores = encoder.score(view).masked_fill(~view.valid[:, None], float("-inf"))
            ranking = scores.sort(dim=-1, descending=True, stable=True).indices
            index = ranking[..., None].expand(-1, -1, -1, dim)
            key[rows, view.layer, :, : ranking.shape[-1]] = view.rotated_key.gather(2, index).cpu()
            value[rows, view.layer, :, : ranking.shape[-1]] = view.value.gather(2, index).cpu()

        encoder.each_layer([references[row] for row in rows], rows, keep)
        for row in rows:
            filled[row, : len(references[row])] = True
        progress("encode", min(start + size, len(order)), len(order))
    return RankedMemories(key=key, value=value, filled=filled, bracket=encoder.spec.bracket)
