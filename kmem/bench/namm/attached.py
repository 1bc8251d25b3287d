"""Five memories of which one is the right one: what is left of their worth where a policy says which go on being read."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.bench.nll import target_nlls
from kmem.bench.quality import AMONG, among_five
from kmem.bench.share import shares
from kmem.bench.stored import as_stored
from kmem.encoder.anatomy import examine
from kmem.encoder.encode import Encoder
from kmem.encoder.profiles import fitting_profiles, load_profile
from kmem.memories import Memories
from kmem.runtime.attach import attach
from kmem.runtime.manage import SHARE, manage
from kmem.runtime.policies import H2O, Policy
from kmem.training.passages import Passage
from kmem.training.probes import Probe, reference_ids
from kmem.training.probes.title import title

SLOTS = int(SHARE * AMONG) / AMONG


def measure_attached(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, policy: Policy, passages: Sequence[Passage], count: int
) -> dict[str, Any]:
    """`share_of_five`: of what five memories gain over none, what is left with those that the policy keeps, after the question; `h2o`: by
    attention received; `right`: with the right one alone; `wrong`: with two others. `slots`: share of slots kept. `right_kept`: how
    often the right one is among them. `share_of_text_gain`, `low95`: of each way, as `kmem bench quality` has them.

    `count` titles are asked for as there; the answer is read token by token, and counted from its second token on, the first one that is
    read without what was dropped.
    """
    probes = [probe for passage in passages[:count] if (probe := title(tokenizer, passage)) is not None]
    anatomy = examine(model)
    profile = load_profile(fitting_profiles(anatomy.layers, anatomy.heads)[0], layers=anatomy.layers, heads=anatomy.heads)
    references = [reference_ids(tokenizer, passage) for passage in passages[: len(probes)]]
    memories = as_stored(Encoder(model, tokenizer, profile).encode_tokens(references, list(range(len(probes)))))
    losses: dict[str, list[float]] = {
        "nothing": target_nlls(model, [((*probe.nothing_context, probe.target[0]), probe.target[1:]) for probe in probes]),
        "text": target_nlls(model, [((*probe.text_context, probe.target[0]), probe.target[1:]) for probe in probes]),
    }
    right = {"namm": 0, "h2o": 0}
    for index, (probe, five) in enumerate(zip(probes, among_five(len(probes)), strict=True)):
        here = memories.take(five)
        ways: dict[str, tuple[Memories, Policy | None]] = {
            "five": (here, None),
            "namm": (here, policy),
            "h2o": (here, H2O()),
            "right": (memories.take([index]), None),
            "wrong": (memories.take([one for one in five if one != index][: int(SHARE * AMONG)]), None),
        }
        for name, (attached, ranked) in ways.items():
            loss, read = _loss(model, probe, attached, ranked)
            losses.setdefault(name, []).append(loss)
            if name in right:
                right[name] += index in read
    share, low = shares(losses)
    nothing, kept = (sum(losses[name]) for name in ("nothing", "five"))
    return {
        "share_of_five": {name: (nothing - sum(losses[name])) / (nothing - kept) for name in ("namm", "h2o", "right", "wrong")},
        "slots": SLOTS,
        "right_kept": {name: found / len(probes) for name, found in right.items()},
        "share_of_text_gain": share,
        "low95": low,
        "questions": len(probes),
        "profile": profile.name,
    }


def _loss(model: PreTrainedModel, probe: Probe, memories: Memories, policy: Policy | None) -> tuple[float, tuple[int, ...]]:
    """Nats of the answer from its second token on, and the memories that were read at its end."""
    ids = torch.tensor([[*probe.context, *probe.target]], device=model.device)
    start = len(probe.context)
    with torch.inference_mode(), attach(model, memories) as memory:
        budget = None if policy is None or policy.decides else ids.shape[1]
        with nullcontext() if policy is None else manage(model, policy, budget, memories=memory):
            cache = model(input_ids=ids[:, :start], use_cache=True, logits_to_keep=1).past_key_values
            logits = [
                model(input_ids=ids[:, at : at + 1], past_key_values=cache, use_cache=True).logits for at in range(start, ids.shape[1] - 1)
            ]
        read = memory.schedule[-1].ids
    found = torch.cat(logits, dim=1)[0].float().log_softmax(-1)
    return -float(found.gather(1, ids[0, start + 1 :, None]).sum()), read
