"""Schedules belong to KV caches: copies go on, beams read the prompt's memories, and nothing stays behind."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import nn
from transformers import Cache, DynamicCache, PreTrainedModel, PreTrainedTokenizerFast

import kmem
from kmem.encoder.encode import Encoder
from kmem.encoder.hook import current_handler
from kmem.errors import UnsupportedModelError
from kmem.kernels import memory_attention as kernels
from kmem.kernels.memory_attention import naive, triton
from kmem.kernels.memory_attention.layout import Prepare
from kmem.kstore.bank import Bank, open_bank
from kmem.profile import Profile
from kmem.runtime import plan as plan_module
from kmem.runtime.defaults import RetrievalMode
from tests.runtime.conftest import TEXTS
from tests.tiny import HashEmbedder, byte_tokenizer, tiny_model, uniform_budget, write_tiny_bank

PROMPT = "Which animal jumps over the lazy dog in the well-known sentence?"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def test_ctrl_c_inside_a_forward_leaves_nothing_behind(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Torch skips always-called hooks after KeyboardInterrupt; the next reader must not see the interrupted one's memories."""
    other = Encoder(model, tokenizer, bank.profile).encode(["entirely other knowledge"])
    context = tokenizer(PROMPT, return_tensors="pt")["input_ids"]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    layer: nn.Module = model.model.layers[2]
    with torch.inference_mode():
        plain = model(context).logits
        with kmem.attach(model, other):
            expected = model(context).logits
        with kmem.attach(model, bank, tokenizer=tokenizer):
            handle = layer.register_forward_hook(interrupt)
            with pytest.raises(KeyboardInterrupt):
                model(context)
            handle.remove()
            assert current_handler() is None
        assert torch.equal(model(context).logits, plain)
        with kmem.attach(model, other):
            assert torch.equal(model(context).logits, expected)


def test_a_copied_cache_goes_on_with_its_schedule(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Prefix re-use: prefill once, deep-copy the cache for every question."""
    first, second = (tokenizer(text, return_tensors="pt")["input_ids"] for text in (PROMPT, " And what is chess played on?"))
    with torch.inference_mode(), kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=16) as memory:
        cache = DynamicCache(config=model.config)
        model(first, past_key_values=cache)
        copied = copy.deepcopy(cache)
        original = model(second, past_key_values=cache).logits
        spans = memory.schedule
        again = model(second, past_key_values=copied).logits
        assert memory.schedule == spans
        assert spans[-1].stop == first.shape[1] + second.shape[1]
    assert torch.equal(original, again)
    assert not [name for name in vars(cache) if "kmem" in name]
    assert "reorder_cache" not in vars(cache)


@pytest.mark.parametrize("mode", get_args(RetrievalMode))
def test_beams_read_the_memories_of_their_prompt(
    bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, mode: RetrievalMode
) -> None:
    """Reordering makes a row's generated text unknown, so no tick may retrieve with it."""
    inputs = tokenizer([PROMPT, "Moon?"], return_tensors="pt", padding=True)
    with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8, mode=mode) as memory:
        model.generate(**inputs, max_new_tokens=30, min_new_tokens=30, num_beams=3, do_sample=False)
        spans = memory.schedule
    queries = {"paper": lambda text: text[(len(text) - 1) // 8 * 8 :], "once": lambda text: text}
    queries["shifted"] = queries["paper"]
    expected = [tuple(hit.id for hit in bank.search(queries[mode](text), k=2)) for text in (PROMPT, "Moon?") for _ in range(3)]
    lengths = [len(PROMPT)] * 3 + [len("Moon?")] * 3
    for row, length in enumerate(lengths):
        generated = [span for span in spans if span.row == row and span.start >= length]
        assert len(generated) == (1 if mode == "once" else 4)
        assert {span.ids for span in generated} == {expected[row]}


def test_a_cropped_cache_is_refused(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    context = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    with torch.inference_mode(), kmem.attach(model, bank, tokenizer=tokenizer):
        cache = DynamicCache(config=model.config)
        model(context, past_key_values=cache)
        cache.crop(-5)
        with pytest.raises(UnsupportedModelError, match=f"from {len(PROMPT)} columns to {len(PROMPT) - 5}"):
            model(context[:, :1], past_key_values=cache)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma3"])
def test_static_cache_equals_dynamic_with_padding(architecture: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With a static cache generate() makes the masks before the forward: 4D, one a layer kind, sometimes none."""
    model, tokenizer = tiny_model(architecture), byte_tokenizer()
    path = write_tiny_bank(tmp_path_factory.mktemp("static") / "bank", model, tokenizer, TEXTS)
    for prompts in ([PROMPT, "Moon?"], [PROMPT]):
        inputs = tokenizer(prompts, return_tensors="pt", padding=True)
        seen = []
        for cache in ("dynamic", "static"):
            with (
                open_bank(path, embedder=HashEmbedder()) as bank,
                kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8) as memory,
            ):
                out = model.generate(**inputs, max_new_tokens=20, min_new_tokens=20, do_sample=False, cache_implementation=cache)
                seen.append((out.tolist(), memory.schedule))
        assert seen[0] == seen[1]


def test_interleaved_streams_keep_their_own_plan(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Two generations step by step in turn: each finds the pool filled by the other."""
    prompts = [tokenizer(text, return_tensors="pt")["input_ids"] for text in (PROMPT, "How many lines has a sonnet, and why?")]

    def steps(prompt: torch.Tensor, cache: DynamicCache) -> list[torch.Tensor]:
        pieces = [prompt, *(torch.tensor([[97 + step]]) for step in range(6))]
        return [lambda piece=piece: model(piece, past_key_values=cache).logits[0, -1] for piece in pieces]  # type: ignore[misc]

    with torch.inference_mode(), kmem.attach(model, bank, tokenizer=tokenizer, top_k=2):
        alone = [[step() for step in steps(prompt, DynamicCache(config=model.config))] for prompt in prompts]  # type: ignore[operator]
        both = [steps(prompt, DynamicCache(config=model.config)) for prompt in prompts]
        turns = [[step() for step in pair] for pair in zip(*both, strict=True)]
    for turn, (first, second) in enumerate(turns):
        assert torch.equal(first, alone[0][turn])
        assert torch.equal(second, alone[1][turn])


def test_positional_arguments_are_understood(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    inputs = tokenizer(["Moon?", PROMPT], return_tensors="pt", padding=True)
    with torch.inference_mode(), kmem.attach(model, bank, tokenizer=tokenizer) as memory:
        model.model(inputs["input_ids"], inputs["attention_mask"])
        assert {(span.row, span.stop) for span in memory.schedule} == {(0, 5), (1, len(PROMPT))}


def test_scoring_several_positions_of_a_prompt_is_no_assisted_decoding(model: PreTrainedModel) -> None:
    memories = Encoder(model, byte_tokenizer(), Profile(name="t", budget=uniform_budget(8))).encode(["text"])
    context = torch.arange(20)[None]
    with torch.inference_mode(), kmem.attach(model, memories):
        kept = model(context, past_key_values=DynamicCache(config=model.config), logits_to_keep=3).logits
        torch.testing.assert_close(kept, model(context).logits[:, -3:], rtol=1e-5, atol=1e-5)


def test_a_cache_copied_while_generating_goes_on_twice(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """In the middle of a chunk: both still read what it reads, and then each what its own text retrieves, step by step in turn."""
    prompt, begun, *endings = (
        tokenizer(text, return_tensors="pt")["input_ids"]
        for text in (PROMPT, "It is", " that fox, and no other animal", " the moon; iron rusts in air..")
    )
    assert endings[0].shape == endings[1].shape

    def fed(cache: Cache, tokens: torch.Tensor) -> Iterator[torch.Tensor]:
        for column in range(tokens.shape[1]):
            yield model(tokens[:, column : column + 1], past_key_values=cache).logits

    def started() -> Cache:
        cache = DynamicCache(config=model.config)
        model(prompt, past_key_values=cache)
        list(fed(cache, begun))
        return cache

    with torch.inference_mode(), kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8) as memory:
        alone, schedules = [], []
        for ending in endings:
            alone.append(list(fed(started(), ending)))
            schedules.append(memory.schedule)
        cache = started()
        copied = copy.deepcopy(cache)
        both = [fed(one, ending) for one, ending in zip((cache, copied), endings, strict=True)]
        for expected in zip(*alone, strict=True):
            for step, logits, schedule in zip(both, expected, schedules, strict=True):
                assert torch.equal(next(step), logits)
                assert all(span in [replace(known, stop=span.stop) for known in schedule] for span in memory.schedule)
    assert schedules[0][:-4] == schedules[1][:-4]
    assert schedules[0][-3].ids != schedules[1][-3].ids


def test_a_copy_from_an_earlier_session_starts_anew(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Leaving takes the marks off the caches that it knows, not off their copies: what those say is not believed."""
    first, second = (tokenizer(text, return_tensors="pt")["input_ids"] for text in (PROMPT, " And what is chess played on?"))
    with torch.inference_mode():
        with kmem.attach(model, bank, tokenizer=tokenizer, top_k=3, every=16):
            cache = DynamicCache(config=model.config)
            model(first, past_key_values=cache)
            copied = copy.deepcopy(cache)
        assert [name for name in vars(copied) if "kmem" in name]
        with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8) as memory:
            expected = model(second, past_key_values=cache).logits
            spans = memory.schedule
            assert torch.equal(model(second, past_key_values=copied).logits, expected)
            assert memory.schedule == spans
    assert spans[0].start == 0
    assert spans[-1].stop == second.shape[1]


@pytest.mark.parametrize("prepare", [naive.prepare, kernels.prepare, triton.prepare], ids=["naive", "usual", "triton"])
def test_another_stream_overwrites_the_rows_between_two_tokens(
    prepare: Prepare, bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No span begins, nothing is retrieved: the pool alone says that a kernel which reads in place would read another memory now."""
    monkeypatch.setattr(plan_module, "prepare", naive.prepare)
    model = model.to(DEVICE)
    prompts = [tokenizer(text, return_tensors="pt")["input_ids"].to(DEVICE) for text in ("Moon?", "Rust?")]

    def steps(prompt: torch.Tensor) -> Iterator[torch.Tensor]:
        cache = DynamicCache(config=model.config)
        for piece in (prompt, torch.tensor([[97]], device=DEVICE), torch.tensor([[98]], device=DEVICE)):
            yield model(piece, past_key_values=cache).logits[0, -1]

    with torch.inference_mode(), kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, device_bytes=0, ahead=0) as memory:
        alone, read = [], []
        for prompt in prompts:
            alone.append(list(steps(prompt)))
            read.append({memory_id for span in memory.schedule for memory_id in span.ids})
        ticks = memory.stats()["ticks"]
        monkeypatch.setattr(plan_module, "prepare", prepare)
        for turn in zip(zip(*map(steps, prompts), strict=True), zip(*alone, strict=True), strict=True):
            for found, expected in zip(*turn, strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert memory.stats()["ticks"] == ticks + 2
    assert read[0].isdisjoint(read[1])
