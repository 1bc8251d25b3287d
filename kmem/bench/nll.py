"""Losses of many probes in batches, through the same door as any user: `attach` with a schedule that gives each row its own memories."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from transformers import PreTrainedModel

from kmem.memories import Memories
from kmem.runtime.attach import attach
from kmem.runtime.schedule import Ids, Span

TOKENS_A_BATCH = 2048
Tick = Callable[[int], None]


def target_nlls(
    model: PreTrainedModel,
    asked: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    memories: Memories | None = None,
    reads: Sequence[Ids] | None = None,
    tick: Tick = lambda done: None,
) -> list[float]:
    """Nats of each target after its context, (context, target) token ids, summed over the target's tokens.

    With memories, pair i reads those with the ids `reads[i]`. `tick` is told how many more pairs are done.
    """
    found: list[float] = []
    longest = max(len(context) + len(target) for context, target in asked)
    size = max(1, TOKENS_A_BATCH // longest)
    for start in range(0, len(asked), size):
        batch = asked[start : start + size]
        read = None if reads is None else reads[start : start + size]
        found += _batch(model, batch, memories, read)
        tick(len(batch))
    return found


def _batch(
    model: PreTrainedModel, asked: Sequence[tuple[Sequence[int], Sequence[int]]], memories: Memories | None, reads: Sequence[Ids] | None
) -> list[float]:
    length = max(len(context) + len(target) for context, target in asked)
    ids = torch.zeros(len(asked), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (context, target) in enumerate(asked):
        ids[row, : len(context) + len(target)] = torch.tensor([*context, *target])
        mask[row, : len(context) + len(target)] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    attached = nullcontext()
    if memories is not None and reads is not None:
        wanted = list(dict.fromkeys(memory_id for own in reads for memory_id in own))
        rows = [memories.ids.index(memory_id) for memory_id in wanted]
        schedule = [Span(row=row, start=0, stop=int(mask[row].sum()), ids=own) for row, own in enumerate(reads)]
        attached = attach(model, memories.take(rows), schedule=schedule)  # type: ignore[assignment]
    with torch.inference_mode(), attached:
        hidden = model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        losses = []
        for row, (context, target) in enumerate(asked):
            logits = model.get_output_embeddings()(hidden[row, len(context) - 1 : len(context) + len(target) - 1]).float()
            losses.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor(target, device=logits.device), reduction="sum")))
    return losses
