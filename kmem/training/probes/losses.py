"""Losses of many targets in one padded forward pass."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

Asked = tuple[Sequence[int], Sequence[int]]
"""Token ids: a context, and the target after it."""


def target_losses(model: PreTrainedModel, asked: Sequence[Asked]) -> Tensor:
    """[B] negative log-likelihood of each target after its context, nats summed over its tokens; padded on the right.

    Only the decoder's forward is called on all tokens, so whatever is attached to it or handles its attention takes part; differentiable.
    """
    length = max(len(context) + len(target) for context, target in asked)
    ids = torch.zeros(len(asked), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    rows: list[int] = []
    columns: list[int] = []
    targets: list[int] = []
    for row, (context, target) in enumerate(asked):
        whole = (*context, *target)
        ids[row, : len(whole)], mask[row, : len(whole)] = torch.tensor(whole), 1
        rows += [row] * len(target)
        columns += range(len(context) - 1, len(whole) - 1)
        targets += target
    device = model.device
    hidden = model.get_decoder()(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).last_hidden_state
    logits = model.get_output_embeddings()(hidden[rows, columns]).float()
    losses = cross_entropy(logits, torch.tensor(targets, device=device), reduction="none")
    return torch.zeros(len(asked), device=device).index_add(0, torch.tensor(rows, device=device), losses)
