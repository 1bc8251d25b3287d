"""Memories written to be learnt through: the keys and values of the tokens that are kept have a gradient, the choice of them has none."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.encoder.anatomy import examine
from kmem.encoder.bracket import encode_bracket
from kmem.encoder.encode import Encoder, kept_heads
from kmem.encoder.keep import gather_slots, keep_positions
from kmem.encoder.select import LayerView
from kmem.memories import EMPTY_SLOT


@dataclass(frozen=True, kw_only=True, eq=False)
class Written:
    """N memories, layer by layer: key, value [N, S_l, D] and filled [N, S_l]; the bracket [L, 2, H, P, D]. All on the model's device."""

    key: tuple[Tensor, ...]
    value: tuple[Tensor, ...]
    filled: tuple[Tensor, ...]
    bracket: Tensor


def write_memories(encoder: Encoder, references: Sequence[Sequence[int]], ids: Sequence[int]) -> Written:
    """The memories of N references (token ids, 1 to 128 each), in order, with the model as it is now; layers behind the profile's last
    are never run. Differentiable in the model's weights where the caller's context is. As a bank has them, but for the order of sums.
    """
    model, budget = encoder.model, encoder.profile.budget
    dim, device = encoder.spec.head_dim, model.device
    none = torch.zeros(len(references), 0, dim, device=device, dtype=model.dtype)
    key, value = [none] * len(budget), [none] * len(budget)
    filled = [torch.zeros(len(references), 0, dtype=torch.bool, device=device)] * len(budget)

    def keep(view: LayerView) -> None:
        kept = [budget[view.layer][head] for head in view.heads]
        with torch.no_grad():
            positions = keep_positions(encoder.score(view), view.valid, kept)
        slot_head = torch.tensor([row for row, tokens in enumerate(kept) for _ in range(tokens)], device=device)
        key[view.layer] = gather_slots(view.rotated_key, positions, slot_head)
        value[view.layer] = gather_slots(view.value, positions, slot_head)
        filled[view.layer] = positions != EMPTY_SLOT

    encoder.each_layer(references, ids, keep, heads=kept_heads(encoder.profile), learning=True)
    bracket = encode_bracket(model, encoder.bracket, examine(model), learning=True).to(device)
    return Written(key=tuple(key), value=tuple(value), filled=tuple(filled), bracket=bracket)
