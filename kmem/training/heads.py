"""What each (layer, key-value head) is worth: how much worse a model predicts when that one head loses its memory.

`smollm2-720` was made with these two by hand (its provenance says how).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.encoder.encode import Encoder
from kmem.encoder.profiles import dense_profile
from kmem.memories import EMPTY_SLOT, Memories
from kmem.profile import Profile
from kmem.training.probe import Probe, target_nll


def rank_heads(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: Sequence[Probe],
    profile: Profile,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """[L, H] rise of the mean NLL per target token (nats) when that head alone loses a dense memory; higher = worth more.

    `profile` gives bracket, alignment and selector; its budget is replaced by 128 tokens everywhere.
    """
    layers, heads = profile.layers, profile.heads
    encoder = Encoder(model, tokenizer, dense_profile(layers, heads, like=profile))
    tokens = sum(len(probe.target) for probe in probes)
    rise = torch.zeros(layers, heads, dtype=torch.float64)
    for done, probe in enumerate(probes):
        memories = encoder.encode_tokens([probe.reference], [0])
        whole = target_nll(model, probe.context, probe.target, memories)
        for layer in range(layers):
            for head in range(heads):
                rise[layer, head] += target_nll(model, probe.context, probe.target, without_head(memories, layer, head)) - whole
            if progress is not None:
                progress(done * layers + layer + 1, len(probes) * layers)
    return rise / tokens


def without_head(memories: Memories, layer: int, head: int) -> Memories:
    """The same memories with one head's slots empty."""
    profile = memories.spec.profile
    lost = torch.from_numpy((profile.slot_layer == layer) & (profile.slot_head == head))
    return replace(memories, slot_position=memories.slot_position.masked_fill(lost, EMPTY_SLOT))


def tiered_budget(rise: Tensor, tiers: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Give the best heads the budgets of `tiers`, (heads, tokens) from the top; the others get none."""
    budget = torch.zeros(rise.numel(), dtype=torch.long)
    order = rise.flatten().argsort(descending=True)
    start = 0
    for count, kept in tiers:
        budget[order[start : start + count]] = kept
        start += count
    return tuple(tuple(int(tokens) for tokens in row) for row in budget.view(rise.shape))
