"""A byte-level tokenizer cut down to its first merges, for models too small for tens of thousands of embeddings."""

import json
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase

from kmem.errors import UnsupportedModelError

END = "<end>"
"""Behind every document; token 0."""


def cut(tokenizer: PreTrainedTokenizerBase, size: int) -> Backend:
    """END, the 256 bytes, and what the first merges make, `size` tokens in all: any text can be written with them.

    Raises UnsupportedModelError for a tokenizer that doesn't merge bytes.
    """
    whole: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    model = whole["model"]
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges", ())]
    alphabet = sorted(ByteLevel.alphabet())
    if model["type"] != "BPE" or not set("".join(map("".join, merges))) <= set(alphabet):
        raise UnsupportedModelError(f"{tokenizer.name_or_path} doesn't merge bytes, so it can't be cut; name a byte-level tokenizer.")
    kept, tokens = [], dict.fromkeys([END, *alphabet])
    for merge in merges:
        joined = "".join(merge)
        if len(tokens) == size and joined not in tokens:
            break
        tokens[joined] = None
        kept.append(merge)
    model |= {"vocab": {token: index for index, token in enumerate(tokens)}, "merges": kept}
    cut_down = {"model": model, "added_tokens": [], "post_processor": None}
    return Backend.from_str(json.dumps(whole | cut_down))
