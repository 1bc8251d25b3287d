"""A probe asks how well a model predicts a text that it could only know from a reference (DESIGN §3's measurement)."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.memories import Memories
from kmem.profile import SPAN_TOKENS
from kmem.runtime.attach import attach
from kmem.training.passages import Passage

TARGET_TOKENS = 40
TEXT_PREFIX = "Reference:"
"""What stands before a reference as text (DESIGN §3), whatever bracket its memory has."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Token ids: a reference, the context a user would type, the target, and the context that holds the reference as text."""

    reference: tuple[int, ...]
    context: tuple[int, ...]
    text_context: tuple[int, ...]
    nothing_context: tuple[int, ...]
    target: tuple[int, ...]


def make_probe(tokenizer: PreTrainedTokenizerBase, passage: Passage, *, prompt: str, target: str) -> Probe:
    """The prompt as the tokenizer gives it, the first 40 tokens of `target`; the reference is the passage's first 128 tokens."""
    begin = _begin(tokenizer)
    reference = reference_ids(tokenizer, passage)
    return Probe(
        reference=reference,
        context=tuple(tokenizer(prompt)["input_ids"]),
        text_context=(*begin, *_ids(tokenizer, TEXT_PREFIX), *reference, *_ids(tokenizer, "\n" + prompt)),
        nothing_context=(*begin, *_ids(tokenizer, prompt)),
        target=tuple(_ids(tokenizer, target)[:TARGET_TOKENS]),
    )


def behind_texts(
    tokenizer: PreTrainedTokenizerBase, probe: Probe, references: Sequence[Sequence[int]], *, prefix: str, suffix: str
) -> list[int]:
    """The probe's question behind references as text, each between prefix and suffix."""
    begin, before, after = _begin(tokenizer), _ids(tokenizer, prefix), _ids(tokenizer, suffix)
    texts = [token for reference in references for token in (*before, *reference, *after)]
    return [*begin, *texts, *probe.nothing_context[len(begin) :]]


def _begin(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]


def reference_ids(tokenizer: PreTrainedTokenizerBase, passage: Passage) -> tuple[int, ...]:
    """The first 128 tokens of `title: body`."""
    return tuple(_ids(tokenizer, passage.reference)[:SPAN_TOKENS])


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens


def target_nll(model: PreTrainedModel, context: Sequence[int], target: Sequence[int], memories: Memories | None = None) -> float:
    """Negative log-likelihood of the target after the context, nats, summed over its tokens."""
    input_ids = torch.tensor([[*context, *target]], device=model.device)
    with torch.inference_mode(), nullcontext() if memories is None else attach(model, memories):
        logits = model(input_ids, use_cache=False).logits[0, len(context) - 1 : -1]
    return float(torch.nn.functional.cross_entropy(logits.float(), input_ids[0, len(context) :], reduction="sum"))
