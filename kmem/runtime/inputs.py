"""What the model and its forward arguments say: which columns are real tokens, how long the cache already is, which tokens end a text."""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from kmem.encoder.hook import visible
from kmem.errors import AttachError


def new_tokens(arguments: dict[str, Any]) -> Tensor:
    """[B, q] token ids of this forward pass; raises AttachError where only embeddings are given."""
    input_ids = arguments.get("input_ids")
    if input_ids is None:
        raise AttachError("Memories are retrieved by token ids, but the model was called with inputs_embeds alone; pass input_ids.")
    tokens: Tensor = input_ids
    return tokens


def real_columns(attention_mask: object, batch: int, length: int) -> Tensor:
    """[B, q] True where a column holds a token, from a 2D mask, a 4D boolean mask (a token sees itself, padding does not) or none."""
    mask = attention_mask
    if isinstance(attention_mask, dict):  # one a layer kind; None among them means causal, without padding
        mask = next((one for one in attention_mask.values() if one is not None), None)
    if mask is None:
        return torch.ones(batch, length, dtype=torch.bool)
    if not isinstance(mask, Tensor):
        raise AttachError(f"Attention masks of type {type(mask).__name__} can't be combined with memories; pass a 2D tensor mask.")
    if mask.ndim == 2:
        return mask[:, -length:].bool().cpu()
    return visible(mask[:, 0]).any(-1).expand(batch, length).cpu()


def cached_columns(cache: Cache | None) -> int:
    """Columns that the cache already holds."""
    return 0 if cache is None else int(cache.get_seq_length())


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> frozenset[int]:
    """Ids that end a generated text, and the ones that `generate` feeds to a row after its end while others go on.

    From the generation config and the tokenizer; the mask can't tell, it grows with ones in every row. Ids given to a single `generate`
    call alone are not seen from here.
    """
    config = getattr(model, "generation_config", None)
    named = [getattr(holder, name, None) for holder in (config, tokenizer) for name in ("eos_token_id", "pad_token_id")]
    listed = [one for ids in named for one in (ids if isinstance(ids, list | tuple) else [ids])]
    return frozenset(one for one in listed if one is not None)
