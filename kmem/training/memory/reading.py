"""Attention over bracket, memories and context with a gradient into all of them."""

from typing import Any

import torch
from torch import Tensor, nn

from kmem.encoder.hook import boolean_mask, scaling_of
from kmem.kernels.memory_attention.dense import Merging, prepare
from kmem.kernels.memory_attention.layout import LayerMemory, PlainSlots, Segments
from kmem.profile import Profile
from kmem.training.memory.writing import Written


class Reader:
    """Answers for a model's attention while a batch is read: `segments` say which columns read which of the written memories.

    The same kernel as `kmem.attach`'s for memories that have a gradient (kernels/memory_attention/dense.py), so what is trained is what
    is read later.
    """

    materialise_mask = False

    def __init__(self, written: Written, profile: Profile, segments: Segments) -> None:
        self._written, self._profile = written, profile
        self._segments = Segments(
            row=segments.row, first=segments.first, last=segments.last, resident=segments.resident.to(written.bracket.device)
        )

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """As Handler's."""
        memory, alone = self._layer(int(module.layer_idx)), options.get("alone")  # type: ignore[arg-type]
        scaling, softcap = scaling_of(query, options), options.get("softcap")
        with torch.autocast(query.device.type, enabled=False):  # sums over memories and context are float32, whatever the model's are
            if alone is not None:
                merging = Merging(memory, self._segments, range(len(memory.budget)))
                output, _ = merging.join(query, *alone(lse=True), scaling=scaling, softcap=None)
                return output.to(query.dtype), None
            if mask is not None:
                mask = boolean_mask(mask, query, key)
            output, _ = prepare(memory, self._segments)(query, key, value, mask, scaling=scaling, softcap=softcap)
        return output, None

    def _layer(self, layer: int) -> LayerMemory:
        written = self._written
        return LayerMemory(
            slots=PlainSlots(key=written.key[layer], value=written.value[layer]),
            filled=written.filled[layer],
            budget=self._profile.budget[layer],
            bracket_key=written.bracket[layer, 0],
            bracket_value=written.bracket[layer, 1],
        )
