"""What a policy's watching and scoring costs, of the time that reading a long prompt and writing after it take."""

import time
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.runtime.manage import manage
from kmem.runtime.policies import Policy
from kmem.training.namm.tasks import ids_of
from kmem.training.passages import Passage


def scoring_shares(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, policy: Policy, passages: Sequence[Passage], tokens: int
) -> dict[str, float]:
    """`prefill_4k` (or how many thousand tokens there are) and `decode`: seconds of the policy in seconds of all.

    One prompt of texts is read at once; as many tokens are written after it as lie between two firings, so that one of them is among them.
    """
    ids = _text(tokenizer, passages, tokens + policy.delay).to(model.device)
    with torch.inference_mode(), manage(model, policy) as managed:
        model(input_ids=ids[:, : policy.delay + 1], use_cache=True, logits_to_keep=1)  # the first time loads what others find loaded
        managed.waits_for_device = True
        before, began = managed.seconds, time.perf_counter()
        read = model(input_ids=ids[:, :tokens], use_cache=True, logits_to_keep=1)
        _wait(model)
        read_s, middle = time.perf_counter() - began, managed.seconds
        began = time.perf_counter()
        for at in range(tokens, ids.shape[1]):
            model(input_ids=ids[:, at : at + 1], past_key_values=read.past_key_values, use_cache=True)
        _wait(model)
        write_s = time.perf_counter() - began
    return {f"prefill_{tokens / 1024:g}k": (middle - before) / read_s, "decode": (managed.seconds - middle) / write_s}


def _text(tokenizer: PreTrainedTokenizerBase, passages: Sequence[Passage], tokens: int) -> torch.Tensor:
    """[1, tokens] of one text after another, from the first again where they are too few."""
    ids: list[int] = []
    number = 0
    while len(ids) < tokens:
        ids += ids_of(tokenizer, passages[number % len(passages)].reference + "\n\n")
        number += 1
    return torch.tensor([ids[:tokens]])


def _wait(model: PreTrainedModel) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()
