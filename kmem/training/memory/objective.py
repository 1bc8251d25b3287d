"""The loss of a batch: references are written, examples read them, and what they predict is compared."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax
from transformers import PreTrainedModel

from kmem.encoder.encode import Encoder
from kmem.encoder.hook import handling, hooked
from kmem.training.memory.example import Example
from kmem.training.memory.layout import segments_of
from kmem.training.memory.reading import Reader
from kmem.training.memory.recipe import LossConfig
from kmem.training.memory.writing import write_memories
from kmem.training.probes.losses import target_logits

Teacher = Callable[[], AbstractContextManager[PreTrainedModel]]
"""Gives the model as it was before training, for as long as the block lasts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Loss:
    """total: what is minimised, with its gradient. parts: nats a token by name, as the curve has them."""

    total: Tensor
    parts: dict[str, float]


def reading_logits(encoder: Encoder, examples: Sequence[Example], references: Sequence[Sequence[int]]) -> Tensor:
    """[N, V] logits of all targets, example after example, each read with its memories, which are written now.

    Differentiable in the model's weights, through what reads and through what is read.
    """
    wanted = tuple(dict.fromkeys(reference for example in examples for reference in example.references))
    segments = segments_of([example.reads for example in examples], {reference: place for place, reference in enumerate(wanted)})
    asked = [(example.context, example.target) for example in examples]
    with hooked(encoder.model):
        if segments is None:
            return target_logits(encoder.model, asked)
        written = write_memories(encoder, [references[reference] for reference in wanted], wanted)
        with handling(Reader(written, encoder.profile, segments)):
            return target_logits(encoder.model, asked)


def taught_logits(teacher: Teacher, examples: Sequence[Example]) -> Tensor:
    """[N, V] the same by the teacher, with the text in its prompt; no gradient."""
    with torch.no_grad(), teacher() as model:
        return target_logits(model, [(example.taught, example.target) for example in examples if example.taught is not None])


def loss_of(
    encoder: Encoder, examples: Sequence[Example], references: Sequence[Sequence[int]], weights: LossConfig, teacher: Teacher
) -> Loss:
    """Mean over the batch's target tokens of what each of them costs: running text by `weights.text`, asked texts by the other two.

    distillation: nats that the teacher's prediction loses when it is told by the memories (Kullback–Leibler).
    """
    device = encoder.model.device
    logits = reading_logits(encoder, examples, references)
    targets = torch.tensor([token for example in examples for token in example.target], device=device)
    asked = torch.tensor([example.taught is not None for example in examples for _ in example.target], device=device)
    nll = cross_entropy(logits, targets, reduction="none")
    cost = torch.where(asked, weights.next_token, weights.text) * nll
    parts = {}
    for name, chosen in (("text", ~asked), ("next_token", asked)):
        if bool(chosen.any()):
            parts[name] = float(nll.detach()[chosen].mean())
    if weights.distillation and bool(asked.any()):
        told = log_softmax(taught_logits(teacher, examples), dim=-1)
        lost = (told.exp() * (told - log_softmax(logits[asked], dim=-1))).sum(-1)
        parts["distillation"] = float(lost.detach().mean())
        cost = cost.index_add(0, asked.nonzero()[:, 0], weights.distillation * lost)
    return Loss(total=cost.mean(), parts=parts)


def computing(device: torch.device, dtype: str) -> AbstractContextManager[object]:
    """Matrix products in this precision; weights, their moments and sums over memories stay float32."""
    return nullcontext() if dtype == "float32" else torch.autocast(device.type, dtype=getattr(torch, dtype))
