"""The reference: for every column and head, concatenate, mask, softmax. Every faster kernel must agree with it."""

import torch
from torch import Tensor

from kmem.kernels.memory_attention.layout import LayerMemory, Prepared, Segments, causal_mask


def prepare(memory: LayerMemory, segments: Segments) -> Prepared:
    """Nothing is laid out beforehand."""

    def attend(
        query: Tensor, key: Tensor, value: Tensor, context_mask: Tensor | None, *, scaling: float, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        batch, query_heads, length, _ = query.shape
        heads, keys = key.shape[1], key.shape[2]
        wide = torch.promote_types(query.dtype, torch.float32)
        mask = causal_mask(length, keys, query.device) if context_mask is None else context_mask
        mask = mask.expand(batch, 1, length, keys)
        slot_key, slot_value = (part.to(wide).masked_fill(~memory.filled[..., None], 0) for part in memory.slots.decoded())
        output = torch.empty(batch, length, query_heads, value.shape[-1], dtype=wide, device=query.device)
        mass = torch.zeros(segments.resident.shape, dtype=wide, device=query.device)
        group = query_heads // heads
        for row in range(batch):
            for head in range(heads):
                queries = slice(head * group, (head + 1) * group)
                for columns, segment in _runs(segments, row, length):
                    own = [] if segment is None else [place for place in segments.resident[segment].tolist() if place >= 0]
                    slots = slice(*memory.head_starts[head : head + 2])
                    seen = torch.cat([memory.filled[place, slots] for place in own]) if own else mask.new_empty(0)
                    bracket = slice(None) if own else slice(0)
                    keys_seen = torch.cat(
                        [memory.bracket_key[head, bracket].to(wide), *(slot_key[place, slots] for place in own), key[row, head].to(wide)]
                    )
                    values_seen = torch.cat(
                        [
                            memory.bracket_value[head, bracket].to(wide),
                            *(slot_value[place, slots] for place in own),
                            value[row, head].to(wide),
                        ]
                    )
                    beside = len(keys_seen) - keys
                    bracket_seen = seen.new_ones(beside - len(seen))
                    before = torch.cat([bracket_seen, seen]).expand(columns.stop - columns.start, beside)
                    visible = torch.cat([before, mask[row, 0, columns]], dim=1)
                    scores = query[row, queries, columns].to(wide) @ keys_seen.T * scaling  # [G, columns, P + slots + n]
                    if softcap is not None:
                        scores = softcap * torch.tanh(scores / softcap)
                    probabilities = scores.masked_fill(~visible, torch.finfo(wide).min).softmax(-1)
                    output[row, columns, queries] = (probabilities @ values_seen).transpose(0, 1)
                    on_slots = probabilities[..., beside - len(seen) : beside].sum(dim=(0, 1))
                    if segment is not None:
                        mass[segment, : len(own)] += on_slots.view(len(own), -1).sum(-1)
        return output.to(query.dtype), mass

    return attend


def _runs(segments: Segments, row: int, length: int) -> list[tuple[slice, int | None]]:
    """The row's columns in order: segments, and between them what belongs to none."""
    own = sorted((segments.first[index], segments.last[index], index) for index in range(len(segments)) if segments.row[index] == row)
    runs: list[tuple[slice, int | None]] = []
    cursor = 0
    for first, last, index in own:
        if cursor < first:
            runs.append((slice(cursor, first), None))
        runs.append((slice(first, last), index))
        cursor = last
    if cursor < length:
        runs.append((slice(cursor, length), None))
    return runs
