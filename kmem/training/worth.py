"""What each (layer, key-value head) is worth: how much worse a model predicts when that one head loses its memory."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from kmem.profile import SPAN_TOKENS
from kmem.progress import Progress, silent
from kmem.training.gates import GatedReader, gated_nll
from kmem.training.probes import Probe
from kmem.training.ranked import RankedMemories

HEADS_AT_ONCE = 16


def worth_of_heads(
    model: PreTrainedModel, memories: RankedMemories, probes: Sequence[Probe], rows: Sequence[int], *, progress: Progress = silent
) -> Tensor:
    """[L, H] rise of the NLL per target token (nats) when that head alone loses a dense memory; higher = worth more.

    `rows` says which memory each probe reads. Heads are left out side by side, 16 a forward pass.
    """
    _, layers, heads = memories.key.shape[:3]
    pairs = [(layer, head) for layer in range(layers) for head in range(heads)]
    rise = torch.zeros(layers, heads)
    progress("ablate", 0, len(probes))
    with torch.inference_mode():
        for done, (probe, row) in enumerate(zip(probes, rows, strict=True)):
            whole = float(gated_nll(model, [probe], GatedReader(memories, torch.tensor([[row]]), _dense(1, layers, heads)))[0])
            for start in range(0, len(pairs), HEADS_AT_ONCE):
                lost = pairs[start : start + HEADS_AT_ONCE]
                gates = _dense(len(lost), layers, heads)
                for index, (layer, head) in enumerate(lost):
                    gates[index, layer, head] = 0
                reader = GatedReader(memories, torch.full((len(lost), 1), row), gates)
                for (layer, head), nll in zip(lost, gated_nll(model, [probe] * len(lost), reader).tolist(), strict=True):
                    rise[layer, head] += nll - whole
            progress("ablate", done + 1, len(probes))
    return rise / sum(len(probe.target) for probe in probes)


def _dense(rows: int, layers: int, heads: int) -> Tensor:
    return torch.ones(rows, layers, heads, SPAN_TOKENS)
