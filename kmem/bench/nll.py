"""Losses of many probes in batches, through the same door as any user: `attach` with a schedule that gives each row its own memories."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from transformers import PreTrainedModel

from kmem.memories import Memories
from kmem.runtime.attach import attach
from kmem.runtime.schedule import Ids, Span
from kmem.training.probes.losses import Asked, target_losses

TOKENS_A_BATCH = 2048
Tick = Callable[[int], None]


def target_nlls(
    model: PreTrainedModel,
    asked: Sequence[Asked],
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


def _batch(model: PreTrainedModel, asked: Sequence[Asked], memories: Memories | None, reads: Sequence[Ids] | None) -> list[float]:
    attached: AbstractContextManager[object] = nullcontext()
    if memories is not None and reads is not None:
        wanted = list(dict.fromkeys(memory_id for own in reads for memory_id in own))
        rows = [memories.ids.index(memory_id) for memory_id in wanted]
        lengths = [len(context) + len(target) for context, target in asked]
        schedule = [Span(row=row, start=0, stop=lengths[row], ids=own) for row, own in enumerate(reads)]
        attached = attach(model, memories.take(rows), schedule=schedule)
    with torch.inference_mode(), attached:
        return [float(loss) for loss in target_losses(model, asked)]
