"""Every answer can say which memories it read, and how much."""

import threading
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import kmem
from kmem.encoder.encode import Encoder
from kmem.errors import ConfigError, MemoryNotFoundError, UnknownNameError, WrongTypeError
from kmem.kstore.bank import Bank
from kmem.memories import EMPTY_SLOT
from kmem.profile import Profile
from kmem.runtime.schedule import Span
from tests.tiny import byte_tokenizer, tiny_model, uniform_budget

PROMPT = "Which animal jumps over the lazy dog in the well-known sentence?"


def test_trace_names_sources_and_attention(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    with kmem.attach(model, bank, tokenizer=tokenizer, top_k=3, every=16) as memory:
        model.generate(**tokenizer(PROMPT, return_tensors="pt"), max_new_tokens=20, min_new_tokens=20)
        spans = memory.trace
        stats = memory.stats()
    assert spans[0].start == 0
    assert all(before.stop == after.start for before, after in pairwise(spans))
    for span in spans:
        assert len(span.reads) == 3
        shares = [read.attention for read in span.reads]
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) < 1
        for read in span.reads:
            chunk = bank.chunk(read.id)
            assert (read.source, read.start, read.stop) == (chunk.source, chunk.start, chunk.end)
    best = bank.search(PROMPT[:16], k=3)
    assert set(spans[0].ids) == {hit.id for hit in best}
    assert stats["retrievals"] == len(PROMPT) // 16 + 1
    assert stats["memories_read"] >= 3
    assert 0 <= stats["device_hit_rate"] <= 1


def test_attention_is_the_probability_the_model_pays() -> None:
    """Against transformers' own attention weights: a dense memory in the cacheless eager model is just earlier tokens."""
    model, tokenizer = tiny_model(dtype=torch.float64), byte_tokenizer()
    encoder = Encoder(model, tokenizer, Profile(name="dense", budget=uniform_budget(128), align="end"))
    reference = list(b"An elephant never forgets.")
    memories = encoder.encode_tokens([reference], [42])
    context = tokenizer("And a goldfish?", return_tensors="pt")["input_ids"]
    length = context.shape[1]
    with torch.inference_mode():
        with kmem.attach(model, memories) as memory:
            model(context)
        (span,) = memory.trace
        model.set_attn_implementation("eager")
        ids = torch.cat([torch.tensor([[*encoder.bracket.prefix, *reference]]), context], dim=1)
        positions = torch.tensor([[*encoder.bracket.prefix_positions(), *encoder.bracket.chunk_positions(len(reference)), *range(length)]])
        weights = model(ids, attention_mask=torch.ones_like(ids), position_ids=positions, output_attentions=True).attentions
    start = len(encoder.bracket.prefix)
    expected = torch.stack([layer[0, :, -length:, start : start + len(reference)].sum(-1).mean() for layer in weights]).mean()
    assert span.reads[0].id == 42
    assert span.reads[0].attention == pytest.approx(float(expected), abs=1e-6)


def test_two_streams_interleaved_do_not_mix(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Each KV cache has its own schedule, so two threads may generate with one attached model."""

    def run(prompt: str) -> torch.Tensor:
        output: torch.Tensor = model.generate(
            **tokenizer(prompt, return_tensors="pt"), max_new_tokens=30, min_new_tokens=30, do_sample=False
        )
        return output

    prompts = (PROMPT, "How many lines has a sonnet?")
    with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8):
        alone = [run(prompt) for prompt in prompts]
        together: dict[int, torch.Tensor] = {}
        threads = [threading.Thread(target=lambda i=i: together.__setitem__(i, run(prompts[i]))) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert torch.equal(together[0], alone[0])
    assert torch.equal(together[1], alone[1])


def test_short_memories_show_no_empty_slot() -> None:
    """What an empty slot holds can't be seen: it is poisoned here."""
    model, tokenizer = tiny_model(), byte_tokenizer()
    memories = Encoder(model, tokenizer, Profile(name="t", budget=uniform_budget(8))).encode(["abc", "a longer reference"])
    context = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        with kmem.attach(model, memories):
            clean = model(context).logits
        memories.kv.masked_fill_((memories.slot_position == EMPTY_SLOT)[:, None, :, None], 1e4)
        with kmem.attach(model, memories):
            assert torch.equal(model(context).logits, clean)


def test_options_are_checked(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match="top_k must be at least 1, not 0"), kmem.attach(model, bank, top_k=0):
        pass
    with pytest.raises(ConfigError, match="tokenizer"), kmem.attach(model, bank):
        pass
    with pytest.raises(WrongTypeError, match=r"open bank \(kmem.open\).* not str"), kmem.attach(model, str(bank.place)):  # type: ignore[arg-type]
        pass
    with pytest.raises(WrongTypeError, match=r"kmem.load_model\), not str"), kmem.attach("smollm2", bank):
        pass
    for query in (None, 7):
        with pytest.raises(WrongTypeError, match="query must be a string"):
            bank.search(query)  # type: ignore[arg-type]
    nothing: Any = None
    for every in (0, nothing):
        with pytest.raises(ConfigError, match=f"at least 1 token, not {every}; mode='once'"):
            kmem.attach(model, bank, tokenizer=tokenizer, every=every)
    unknown: Any = "retro"
    with pytest.raises(UnknownNameError, match="mode 'retro'; there are once, paper, shifted"):
        kmem.attach(model, bank, tokenizer=tokenizer, mode=unknown)


def test_a_schedule_that_can_not_be_replayed_is_refused(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    missing = [Span(row=0, start=0, stop=9, ids=(12345,))]
    with pytest.raises(MemoryNotFoundError, match="12345"):
        kmem.attach(model, bank, tokenizer=tokenizer, schedule=missing)
    with pytest.raises(MemoryNotFoundError, match="12345 is not among the 1 attached"):
        kmem.attach(model, bank.read([int(bank.ids[0])]), schedule=missing)
    known = Span(row=0, start=0, stop=9, ids=(int(bank.ids[0]),))
    with pytest.raises(ConfigError, match="two spans"):
        kmem.attach(model, bank, tokenizer=tokenizer, schedule=[known, replace(known, start=8)])
