"""Losses of many targets in one padded forward pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

Asked = tuple[Sequence[int], Sequence[int]]
"""Token ids: a context, and the target after it."""


def target_losses(model: PreTrainedModel, asked: Sequence[Asked]) -> Tensor:
    """[B] negative log-likelihood of each target after its context, nats summed over its tokens; padded on the right.

    As `target_logits` has it.
    """
    targets = [token for _, target in asked for token in target]
    rows = [row for row, (_, target) in enumerate(asked) for _ in target]
    logits, device = target_logits(model, asked), model.device
    losses = cross_entropy(logits, torch.tensor(targets, device=device), reduction="none")
    return losses.new_zeros(len(asked)).index_add(0, torch.tensor(rows, device=device), losses)


def target_logits(model: PreTrainedModel, asked: Sequence[Asked]) -> Tensor:
    """[N, V] logits, float32 or wider, that predict the N tokens of all targets, target after target.

    The model's own forward is called, so whatever is attached to it or handles its attention takes part, and so does what it does to its
    logits (Granite and Cohere scale them, Gemma 2 caps them); only at the targets are logits computed. Differentiable.
    """
    length = max(len(context) + len(target) for context, target in asked)
    ids = torch.zeros(len(asked), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    rows: list[int] = []
    columns: list[int] = []
    for row, (context, target) in enumerate(asked):
        whole = (*context, *target)
        ids[row, : len(whole)], mask[row, : len(whole)] = torch.tensor(whole), 1
        rows += [row] * len(target)
        columns += range(len(context) - 1, len(whole) - 1)
    device = model.device
    with _heading_for(model, rows, columns):
        logits: Tensor = model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits[0]
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@contextmanager
def _heading_for(model: PreTrainedModel, rows: Sequence[int], columns: Sequence[int]) -> Iterator[None]:
    """The output embeddings are given only the hidden states at these N places, [1, N, ·] instead of [B, T, ·].

    `logits_to_keep` takes the same columns of every row, which would be most of them here.
    """

    def pick(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0][rows, columns][None], *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()
