"""Read ranked memories through gates: 1 lets a slot through, 0 hides it, and what lies between has a gradient.

A gate multiplies exp(score) inside the softmax, so that gates of 0 and 1 give exactly what a bank with that budget gives, and the
derivative at a closed gate says what opening it would be worth.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kmem.encoder.hook import boolean_mask, handling, hooked, scaling_of
from kmem.profile import SPAN_TOKENS
from kmem.training.probes import Probe
from kmem.training.probes.losses import target_losses
from kmem.training.ranked import RankedMemories


def gates_of(budget: Tensor | Sequence[Sequence[int]]) -> Tensor:
    """[L, H] whole budgets → [1, L, H, 128] gates: the first `budget` ranks of each head are open."""
    return (torch.arange(SPAN_TOKENS) < torch.as_tensor(budget)[..., None]).float()[None]


class GatedReader:
    """Attention over bracket, M gated memories a row and the context, for B rows at once.

    rows [B, M] say which of the ranked memories each row reads; gates [B or 1, L, H, 128]. Both, and the memories, may lie on another
    device than the model: a layer's part is moved to the query's when it is read.
    """

    materialise_mask = True

    def __init__(self, memories: RankedMemories, rows: Tensor, gates: Tensor) -> None:
        self._memories, self._rows, self._gates = memories, rows, gates
        self._filled = memories.filled[rows]  # [B, M, 128]

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """As memory_attention, in float32, with weights instead of a mask. What a model attends to `alone` is one more key a query, its
        score the log-sum-exp.
        """
        layer, alone = int(module.layer_idx), options.get("alone")  # type: ignore[arg-type]
        batch, query_heads, length, dim = query.shape
        heads, visible = key.shape[1], None
        if alone is None:
            visible = boolean_mask(mask, query, key)
        else:
            key, value = key[:, :, :0], value[:, :, :0]
        keys = self._joined(self._memories.key, self._memories.bracket[layer, 0], layer, key)
        values = self._joined(self._memories.value, self._memories.bracket[layer, 1], layer, value)
        weight = self._weights(layer, heads, length, visible, query.device)
        grouped = query.float().view(batch, heads, query_heads // heads, length, dim)
        scores = grouped @ keys[:, :, None].transpose(-1, -2) * scaling_of(query, options)  # [B, H, G, q, K]
        if options.get("softcap") is not None:
            scores = options["softcap"] * torch.tanh(scores / options["softcap"])
        context, lse = (None, None) if alone is None else (part.float() for part in alone(lse=True))
        if lse is not None:
            scores = torch.cat([scores, lse.view(*scores.shape[:-1], 1)], dim=-1)
            weight = torch.nn.functional.pad(weight, (0, 1), value=1.0)
        seen = scores.masked_fill(weight.detach()[:, :, None] == 0, float("-inf")).amax(-1, keepdim=True).detach()
        shares = (scores - seen).clamp(max=_LARGEST).exp() * weight[:, :, None]
        shares = shares / shares.sum(-1, keepdim=True)
        output = shares[..., : values.shape[2]] @ values[:, :, None]
        if context is not None:
            output = output + shares[..., -1:] * context.view_as(output)
        return output.view(batch, query_heads, length, dim).transpose(1, 2).to(query.dtype).contiguous(), None

    def _joined(self, memories: Tensor, bracket: Tensor, layer: int, context: Tensor) -> Tensor:
        """[B, H, P + M·128 + n, D] in float32."""
        batch, heads, _, dim = context.shape
        own = memories[self._rows, layer].transpose(1, 2).reshape(batch, heads, -1, dim)
        parts = (bracket.expand(batch, -1, -1, -1), own, context)
        return torch.cat([part.to(context.device, torch.float32) for part in parts], dim=2)

    def _weights(self, layer: int, heads: int, length: int, visible: Tensor | None, device: torch.device) -> Tensor:
        """[B, H, q, P + M·128 + n]; without the last where nothing of the context is named."""
        batch = len(self._rows)
        gates = self._gates[:, layer, :, None].to(device) * self._filled[:, None].to(device)  # [B, H, M, 128]
        own = gates.reshape(batch, heads, 1, -1).expand(-1, -1, length, -1)
        bracket = own.new_ones(batch, heads, length, self._memories.bracket.shape[3])
        parts = [bracket, own] if visible is None else [bracket, own, visible.float().expand(-1, heads, -1, -1)]
        return torch.cat(parts, dim=-1)


_LARGEST = 60.0
"""A closed gate may hide a score far above all open ones; beyond e⁶⁰ its derivative is as large as needed."""


def gated_nll(model: PreTrainedModel, probes: Sequence[Probe], reader: GatedReader) -> Tensor:
    """[B] negative log-likelihood of each probe's target, nats summed over its tokens; differentiable in the reader's gates."""
    with hooked(model), handling(reader):
        return target_losses(model, [(probe.context, probe.target) for probe in probes])
