"""Head ranking finds the head that reads, and tiers hand out budgets from the top."""

import torch

from kmem.encoder.encode import Encoder
from kmem.memories import EMPTY_SLOT
from kmem.profile import Profile
from kmem.training.heads import rank_heads, tiered_budget, without_head
from kmem.training.probe import target_nll, title_probe
from tests.tiny import byte_tokenizer, tiny_model, uniform_budget

DENSE = Profile(name="dense", budget=uniform_budget(128))


def test_ranking_equals_leaving_each_head_out_by_hand() -> None:
    model, tokenizer = tiny_model(), byte_tokenizer()
    probes = [title_probe(tokenizer, "Fox", "A quick brown animal."), title_probe(tokenizer, "Iron", "A metal that rusts.")]
    ticks: list[tuple[int, int]] = []
    rise = rank_heads(model, tokenizer, probes, DENSE, progress=lambda done, total: ticks.append((done, total)))
    assert rise.shape == (4, 2)
    assert ticks[-1] == (8, 8)
    encoder = Encoder(model, tokenizer, DENSE)
    by_hand = 0.0
    for probe in probes:
        memories = encoder.encode_tokens([probe.reference], [0])
        whole = target_nll(model, probe.context, probe.target, memories)
        by_hand += target_nll(model, probe.context, probe.target, without_head(memories, 2, 1)) - whole
    assert abs(by_hand / sum(len(probe.target) for probe in probes) - float(rise[2, 1])) < 1e-9


def test_without_head_empties_that_head_alone() -> None:
    memories = Encoder(tiny_model(), byte_tokenizer(), DENSE).encode(["some reference"])
    lost = without_head(memories, 1, 0)
    at = torch.from_numpy((DENSE.slot_layer == 1) & (DENSE.slot_head == 0))
    assert (lost.slot_position[:, at] == EMPTY_SLOT).all()
    assert torch.equal(lost.slot_position[:, ~at], memories.slot_position[:, ~at])


def test_tiers() -> None:
    rise = torch.tensor([[0.1, 0.9], [0.5, 0.2], [0.0, -0.3]])
    assert tiered_budget(rise, [(1, 128), (2, 40)]) == ((0, 128), (40, 40), (0, 0))


def test_title_probe_is_the_documented_measurement() -> None:
    tokenizer = byte_tokenizer()
    probe = title_probe(tokenizer, "Fox", "x" * 200)
    assert tokenizer.decode(list(probe.context)) == "Question: What is Fox?\nAnswer:"
    assert len(probe.reference) == 128
    assert tokenizer.decode(list(probe.target)) == " " + "x" * 39
    assert tokenizer.decode(list(probe.text_context)).startswith("<bos>Reference:Fox: xxx")
    assert tokenizer.decode(list(probe.nothing_context)) == "<bos>Question: What is Fox?\nAnswer:"
