"""Look inside a stored memory: which tokens of its reference were kept, and by how many heads."""

from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from kmem.kstore.bank import Bank
from kmem.memories import EMPTY_SLOT


@dataclass(frozen=True, kw_only=True)
class KeptToken:
    """One token of a reference; `heads` (layer, key-value head) pairs keep it."""

    text: str
    heads: int


def kept_tokens(bank: Bank, memory_id: int, tokenizer: PreTrainedTokenizerBase) -> list[KeptToken]:
    """The reference's tokens in order with how many heads keep each."""
    reference = bank.chunk(memory_id).reference
    encoded = tokenizer(reference, add_special_tokens=False, return_offsets_mapping=True)
    positions = bank.slot_position([memory_id])[0].long()
    counts = torch.bincount(positions[positions != EMPTY_SLOT], minlength=len(encoded["input_ids"]))
    ends = [end for _, end in encoded["offset_mapping"]]
    starts = [0, *ends[:-1]]  # a token's text reaches back to the end of the one before, so no character is lost
    return [
        KeptToken(text=reference[min(start, end) : end], heads=int(count))
        for start, end, count in zip(starts, ends, counts.tolist(), strict=True)
    ]
