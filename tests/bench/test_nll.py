"""Batched losses through `attach` are those of one probe at a time."""

import pytest
import torch

from kmem.bench import nll
from kmem.bench.nll import target_nlls
from kmem.encoder.encode import Encoder
from kmem.profile import Profile
from kmem.training.probes import target_nll
from tests.tiny import SCALED_LOGITS, byte_tokenizer, tiny_model, uniform_budget

PAIRS = [(b"Question: what is it?", b" A fox."), (b"Short", b" text that goes on for a while"), (b"And then some more of it", b"!")]
ASKED = [(list(context), list(target)) for context, target in PAIRS]


@pytest.mark.parametrize("tokens_a_batch", [1, 60, 10_000])
def test_rows_of_a_batch_read_their_own_memories(tokens_a_batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nll, "TOKENS_A_BATCH", tokens_a_batch)
    model = tiny_model(dtype=torch.float64)
    encoder = Encoder(model, byte_tokenizer(), Profile(name="t", budget=uniform_budget(16)))
    memories = encoder.encode(["one", "another one", "a third"], [7, 8, 9])
    reads = [(7,), (9, 8), (8,)]
    ticks: list[int] = []
    with_memories = target_nlls(model, ASKED, memories=memories, reads=reads, tick=ticks.append)
    without = target_nlls(model, ASKED)
    assert sum(ticks) == 3
    for index, (context, target) in enumerate(ASKED):
        rows = [memories.ids.index(memory_id) for memory_id in reads[index]]
        # the loss itself is a float32 sum
        assert with_memories[index] == pytest.approx(target_nll(model, context, target, memories.take(rows)), rel=1e-5)
        assert without[index] == pytest.approx(target_nll(model, context, target), rel=1e-5)
        assert with_memories[index] != pytest.approx(without[index], rel=1e-3)


@pytest.mark.parametrize("architecture", SCALED_LOGITS)
def test_what_a_model_does_to_its_logits_takes_part(architecture: str) -> None:
    model = tiny_model(architecture)
    encoder = Encoder(model, byte_tokenizer(), Profile(name="t", budget=uniform_budget(16)))
    memories = encoder.encode(["one", "another one", "a third"], [7, 8, 9])
    alone = target_nlls(model, ASKED)
    reading = target_nlls(model, ASKED, memories=memories, reads=[(7,), (8,), (9,)])
    for row, (context, target) in enumerate(ASKED):
        assert alone[row] == pytest.approx(target_nll(model, context, target), rel=1e-4)
        assert reading[row] == pytest.approx(target_nll(model, context, target, memories.take([row])), rel=1e-4)
