"""The question and the answer after a recorded cache, of which every member of a batch keeps its own tokens.

The recorded keys and values are shared by the batch and never copied; what is dropped is masked, which gives what dropping gives.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from kmem.encoder.hook import handling, hooked, scaling_of
from kmem.training.namm.tasks import Example, score


@dataclass(eq=False)
class Prefix:
    """Answers for attention: key, value [L, H, T, D] before the tokens at hand, keep [B, L, H, T].

    gate: [L, H, T] is added to the scores that those before get. With one, `paid` has, a layer an entry, the mean attention [H, T] that the
    tokens at hand pay them, of the first member.
    """

    key: Tensor
    value: Tensor
    keep: Tensor
    gate: Tensor | None = None
    materialise_mask: bool = False
    paid: list[Tensor] = field(default_factory=list)

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """One softmax over what is kept and the tokens at hand, causally. Query [B, Q, q, D] → output [B, q, Q, D]."""
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        heads, length = key.shape[1:3]
        grouped = torch.unflatten(query, 1, (heads, -1))
        before, scaling = self.key[layer], scaling_of(query, options)
        past = torch.einsum("bhgqd,htd->bhgqt", grouped, before) * scaling
        own = torch.einsum("bhgqd,bhkd->bhgqk", grouped, key) * scaling
        cap = options.get("softcap")
        if cap is not None:
            past, own = (cap * torch.tanh(part / cap) for part in (past, own))
        if self.gate is not None:
            past = past + self.gate[layer, :, None, None].to(past)
        past = past.masked_fill(~self.keep[:, layer, :, None, None], -torch.inf)
        future = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
        scores = torch.cat([past, own.masked_fill(future, -torch.inf)], dim=-1)
        weights = scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(dim=-1)
        if self.gate is not None:
            self.paid.append(weights[0, ..., : before.shape[1]].mean(dim=(1, 2)).detach())
        weights = weights.to(value)
        found = torch.einsum("bhgqt,htd->bhgqd", weights[..., : before.shape[1]], self.value[layer])
        found = found + torch.einsum("bhgqk,bhkd->bhgqd", weights[..., before.shape[1] :], value)
        return found.flatten(1, 2).transpose(1, 2), None


def replay(model: PreTrainedModel, example: Example, prefix: Prefix) -> Tensor:
    """[B] score of the answer, read after the question, after what each member keeps of the texts."""
    with torch.inference_mode():
        logits, answer = answers(model, example, prefix)
        return score(logits, answer).cpu()


def effects(model: PreTrainedModel, example: Example, prefix: Prefix) -> Tensor:
    """[L, H, T] how much the answer's negative log-likelihood changes, up or down, with each token's score in each head (nats a nat, at
    `prefix.gate`, which must be given): in first order, what the answer would lose with it.
    """
    assert prefix.gate is not None
    gate = prefix.gate.requires_grad_(True)
    logits, answer = answers(model, example, prefix)
    wide = torch.promote_types(logits.dtype, torch.float32)
    loss = cross_entropy(logits[0].to(wide), answer[0], reduction="sum")
    (slope,) = torch.autograd.grad(loss, gate)
    return slope.abs().detach()


def answers(model: PreTrainedModel, example: Example, prefix: Prefix) -> tuple[Tensor, Tensor]:
    """Logits [B, A, V] and the answer [1, A]."""
    batch, start = len(prefix.keep), len(example.texts)
    tail = torch.tensor([*example.question, *example.answer], device=model.device).expand(batch, -1)
    places = torch.arange(start, start + tail.shape[1], device=model.device).expand(batch, -1)
    wanted = len(example.answer)
    with hooked(model), handling(prefix):
        logits = model(
            input_ids=tail, position_ids=places, attention_mask=torch.ones_like(tail), use_cache=False, logits_to_keep=wanted + 1
        ).logits
    return logits[:, :-1], tail[:1, -wanted:]
