"""The true regime: a policy manages the cache while the prompt is read and the answer is written, and every firing sees what is left."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from kmem.models.namm.scorer import Namm
from kmem.runtime.manage import manage
from kmem.runtime.policies import Policy
from kmem.training.namm.tasks import Example, score


@dataclass(frozen=True, kw_only=True)
class Answered:
    """score of the answer; share of the prompt's tokens in the cache when the answer begins; held: how many, by layer and head.

    read_tokens: the prompt's. bytes: `managed.bytes()` then. read_s, answer_s: seconds for the prompt and the answer; scoring_s: of both,
    for the policy.
    """

    score: float
    share: float
    read_tokens: int
    held: tuple[tuple[int, ...], ...]
    bytes: dict[str, int]
    read_s: float
    answer_s: float
    scoring_s: float


def answered(model: PreTrainedModel, example: Example, policy: str | Path | Policy | Namm, budget: int | None = None) -> Answered:
    """Read the prompt at once, then the answer token after token as if it were generated: each is given, so that all policies are asked
    the same.
    """
    ids = torch.tensor([[*example.context, *example.answer]], device=model.device)
    start = len(example.context)
    with torch.inference_mode(), manage(model, policy, budget) as managed:
        began = time.perf_counter()
        read = model(input_ids=ids[:, :start], use_cache=True, logits_to_keep=1)
        read_s = time.perf_counter() - began
        share, size, held = managed.cache_fraction, managed.bytes(), tuple(tuple(layer[0]) for layer in managed.kept())
        logits = [read.logits]
        began = time.perf_counter()
        for at in range(start, ids.shape[1] - 1):
            step = model(input_ids=ids[:, at : at + 1], past_key_values=read.past_key_values, use_cache=True)
            logits.append(step.logits)
        answer_s = time.perf_counter() - began
        scoring_s = managed.seconds
    found = score(torch.cat(logits, dim=1), ids[0, start:])
    return Answered(
        score=float(found), share=share, read_tokens=start, held=held, bytes=size, read_s=read_s, answer_s=answer_s, scoring_s=scoring_s
    )
