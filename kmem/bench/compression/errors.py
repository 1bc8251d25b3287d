"""How far decoded memories, and what attention makes of them, are from the memories themselves."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kmem.kstore.quant import Quantiser
from kmem.memories import Memories
from kmem.runtime.attach import attach
from kmem.training.probes import Probe

OUTPUT_PROJECTION = "self_attn.o_proj"


def coded(memories: Memories, quantiser: Quantiser) -> Memories:
    """The memories as a bank with this quantiser gives them back."""
    return replace(memories, kv=quantiser.decode(quantiser.encode(memories.kv)).float())


def relative_error(exact: Memories, near: Memories, kind: int) -> float:
    """Root mean square of the difference over that of the numbers, filled slots only. kind: 0 keys, 1 values."""
    filled = exact.filled
    kept, other = exact.kv[:, kind][filled].float(), near.kv[:, kind][filled].float()
    return float((kept - other).square().sum().sqrt() / kept.square().sum().sqrt())


def attention_error(model: PreTrainedModel, probes: Sequence[Probe], exact: Memories, near: Memories) -> float:
    """The same of what every layer's attention gives while the model reads each probe with its own memory, all layers together."""
    change = total = 0.0
    for row, probe in enumerate(probes):
        ours, theirs = (_attention_outputs(model, probe, memories.take([row])) for memories in (exact, near))
        change += sum(float((one - other).square().sum()) for one, other in zip(ours, theirs, strict=True))
        total += sum(float(one.square().sum()) for one in ours)
    return float((change / total) ** 0.5)


def _attention_outputs(model: PreTrainedModel, probe: Probe, memory: Memories) -> list[Tensor]:
    ids = torch.tensor([[*probe.context, *probe.target]], device=model.device)
    with _listening(model) as heard, attach(model, memory), torch.inference_mode():
        model(ids, use_cache=False)
    return heard


@contextmanager
def _listening(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """What goes into every output projection of attention, in order."""
    heard: list[Tensor] = []

    def hear(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        heard.append(given[0].float())

    hooks = [module.register_forward_pre_hook(hear) for name, module in model.named_modules() if name.endswith(OUTPUT_PROJECTION)]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()
