"""What a token sees: bracket and suffix in place, uneven budgets, sliding windows, softcaps, and nothing where nothing was read."""

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import kmem
from kmem.encoder.bracket import bracket_of
from kmem.encoder.encode import Encoder
from kmem.errors import IdentityMismatchError
from kmem.kstore.bank import Bank, open_bank
from kmem.memories import EMPTY_SLOT
from kmem.profile import Profile
from kmem.runtime.defaults import RetrievalMode
from kmem.runtime.inputs import end_tokens
from kmem.runtime.schedule import Span
from kmem.runtime.session import Session
from tests.tiny import SHAPE, HashEmbedder, byte_tokenizer, loud, tiny_model, uniform_budget

PROMPT = "Which animal jumps over the lazy dog in the well-known sentence?"
REFERENCE = list(b"An elephant never forgets a face, they say.")


def context_of(length: int = 30) -> torch.Tensor:
    return torch.randint(0, 256, (1, length), generator=torch.Generator().manual_seed(1))


def test_positions_are_those_of_the_design() -> None:
    """Prefix −(p+128+s)…, span −(128+s)…−(s+1), suffix −s…−1 (DESIGN §3), in numbers."""
    tokenizer = byte_tokenizer()
    bracket = bracket_of(Profile(name="t", budget=uniform_budget(8), prefix="Ref:", suffix="\n\n", align="start"), tokenizer)
    assert list(bracket.prefix_positions()) == [-135, -134, -133, -132, -131]
    assert list(bracket.chunk_positions(3)) == [-130, -129, -128]
    assert list(bracket.suffix_positions()) == [-2, -1]
    assert list(replace(bracket, align="end").chunk_positions(3)) == [-5, -4, -3]
    assert bracket.prefix[0] == tokenizer.bos_token_id


def test_without_a_beginning_token_the_end_token_begins() -> None:
    tokenizer = byte_tokenizer()
    profile = Profile(name="t", budget=uniform_budget(8))
    tokenizer.bos_token = None
    assert bracket_of(profile, tokenizer).prefix[0] == 257
    tokenizer.eos_token = None
    assert bracket_of(profile, tokenizer).prefix == tuple(tokenizer("Reference:")["input_ids"])


@pytest.mark.parametrize("align", ["start", "end"])
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_a_suffix_is_a_token_that_sees_only_the_prefix(architecture: str, align: str) -> None:
    """Against a plain forward over prefix, chunk, suffix and context under a hand-made 4D mask."""
    model, tokenizer = tiny_model(architecture, dtype=torch.float64), byte_tokenizer()
    encoder = Encoder(model, tokenizer, Profile(name="t", budget=uniform_budget(128), suffix="\n#", align=align))  # type: ignore[arg-type]
    prefix, suffix = encoder.bracket.prefix, encoder.bracket.suffix
    chunk, context = len(REFERENCE), context_of()
    start = -128 - 2 if align == "start" else -2 - chunk
    ids = torch.cat([torch.tensor([[*prefix, *REFERENCE, *suffix]]), context], dim=1)
    positions = torch.tensor([[*range(-130 - len(prefix), -130), *range(start, start + chunk), -2, -1, *range(context.shape[1])]])
    mask = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    mask[len(prefix) + chunk : len(prefix) + chunk + 2, len(prefix) : len(prefix) + chunk] = False
    with torch.inference_mode():
        expected = model(ids, attention_mask=mask[None, None], position_ids=positions).logits[:, -context.shape[1] :]
        with kmem.attach(model, encoder.encode_tokens([REFERENCE], [1])):
            assert float((model(context).logits - expected).abs().max()) < 1e-9


def test_uneven_budgets_are_a_dense_memory_with_the_other_slots_empty() -> None:
    """What `smollm2-720` is: some heads whole, some with a few tokens, most with none, and two memories at once."""
    model, tokenizer = tiny_model(dtype=torch.float64), byte_tokenizer()
    budget = ((0, 3), (0, 0), (128, 5), (1, 40))
    ours = Encoder(model, tokenizer, Profile(name="uneven", budget=budget)).encode_tokens([REFERENCE, REFERENCE[:9]], [1, 2])
    dense = Encoder(model, tokenizer, Profile(name="dense", budget=uniform_budget(128))).encode_tokens([REFERENCE, REFERENCE[:9]], [1, 2])
    kept = dense.slot_position.clone()
    for row in range(2):
        for slot in range(dense.spec.profile.slots):
            layer, head = int(dense.spec.profile.slot_layer[slot]), int(dense.spec.profile.slot_head[slot])
            mine = (ours.spec.profile.slot_layer == layer) & (ours.spec.profile.slot_head == head)
            if int(kept[row, slot]) not in ours.slot_position[row, torch.from_numpy(mine)].tolist():
                kept[row, slot] = EMPTY_SLOT
    context = context_of()
    with torch.inference_mode():
        with kmem.attach(model, ours):
            uneven = model(context).logits
        with kmem.attach(model, replace(dense, slot_position=kept)):
            expected = model(context).logits
        bare = model(context).logits
    torch.testing.assert_close(uneven, expected, rtol=0, atol=1e-11)
    assert float((uneven - bare).abs().max()) > 0.1


def test_a_row_that_reads_nothing_sees_no_bracket(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    model = model.double()
    contexts = torch.cat([context_of(), context_of()])
    some = Span(row=0, start=0, stop=30, ids=(int(bank.ids[0]),))
    with torch.inference_mode():
        bare = model(contexts).logits
        with kmem.attach(model, bank, tokenizer=tokenizer, schedule=[some]):
            read = model(contexts).logits
    torch.testing.assert_close(read[1], bare[1], rtol=0, atol=1e-12)
    assert float((read[0] - bare[0]).abs().max()) > 0.1


def test_memories_are_exempt_from_a_sliding_window() -> None:
    """Window 16, context 60: what the context sees of itself is windowed, its memory is beside it at every token, step by step too."""
    model = loud(MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=16))).double()
    wide = loud(MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=None))).double()
    encoder = Encoder(model, byte_tokenizer(), Profile(name="t", budget=uniform_budget(8)))
    one, other = encoder.encode(["an elephant"]), encoder.encode(["a goldfish!"])
    context = context_of(60)
    with torch.inference_mode():
        with kmem.attach(model, one):
            prefill = model(context).logits
            out = model(context[:, :1], use_cache=True)
            steps = [out.logits]
            for column in range(1, 60):
                out = model(context[:, column : column + 1], past_key_values=out.past_key_values)
                steps.append(out.logits)
        with kmem.attach(model, other):
            assert float((model(context).logits - prefill)[0, -1].abs().max()) > 1e-3  # the last token reads it, 60 tokens on
        assert not torch.allclose(wide(context).logits[0, -1], model(context).logits[0, -1])  # and the window does bite
    torch.testing.assert_close(torch.cat(steps, dim=1), prefill, rtol=0, atol=1e-9)


def test_softcapped_scores_are_capped_with_memories_too() -> None:
    """Gemma 2 caps attention scores: dense memory against a plain forward, eager."""
    config = Gemma2Config(**SHAPE, head_dim=8, sliding_window=512, attn_logit_softcapping=1.5, query_pre_attn_scalar=8)
    model = loud(Gemma2ForCausalLM(config)).double()
    model.set_attn_implementation("eager")
    encoder = Encoder(model, byte_tokenizer(), Profile(name="t", budget=uniform_budget(128)))
    context, bracket = context_of(), encoder.bracket
    ids = torch.cat([torch.tensor([[*bracket.prefix, *REFERENCE]]), context], dim=1)
    positions = torch.tensor([[*bracket.prefix_positions(), *bracket.chunk_positions(len(REFERENCE)), *range(30)]])
    with torch.inference_mode():
        expected = model(ids, attention_mask=torch.ones_like(ids), position_ids=positions).logits[:, -30:]
        with kmem.attach(model, encoder.encode_tokens([REFERENCE], [1])):
            assert float((model(context).logits - expected).abs().max()) < 1e-5  # eager softmax is float32 there


def test_retrieval_sees_the_text_without_special_tokens(
    bank_path: object, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    asked: list[str] = []

    class Listening(HashEmbedder):
        def embed_queries(self, texts):  # type: ignore[no-untyped-def]
            asked.extend(texts)
            return super().embed_queries(texts)

    with open_bank(bank_path, embedder=Listening()) as bank, kmem.attach(model, bank, tokenizer=tokenizer):  # type: ignore[arg-type]
        model(tokenizer("<bos>Moon?<eos>", return_tensors="pt")["input_ids"])
    assert asked == ["Moon?"]


@pytest.mark.parametrize("prompt", ["<bos>", "  \n ", "<bos><eos>"])
def test_without_text_to_search_with_nothing_is_read(
    bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompt: str
) -> None:
    inputs = tokenizer([prompt, "Moon?"], return_tensors="pt", padding=True)
    with kmem.attach(model, bank, tokenizer=tokenizer) as memory:
        model(**inputs)
    first, second = memory.schedule
    assert first.ids == ()
    assert len(second.ids) == 5


@pytest.mark.parametrize("mode", get_args(RetrievalMode))
def test_a_row_of_padding_alone(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, mode: RetrievalMode) -> None:
    """It has no text, until it has generated some."""
    inputs = tokenizer(["<pad>", "Moon, moon?"], return_tensors="pt", padding=True)
    inputs["attention_mask"][0] = 0
    with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8, mode=mode) as memory:
        model.generate(**inputs, max_new_tokens=12, min_new_tokens=12, do_sample=False)
    first = [span for span in memory.schedule if span.row == 0]
    assert [(span.start, span.stop) for span in first] == ([(0, 11)] if mode == "once" else [(0, 8), (8, 11)])
    assert mode == "once" or first[0].ids == ()


@pytest.mark.parametrize("mode", get_args(RetrievalMode))
@pytest.mark.parametrize("configured", [True, False])
def test_a_finished_row_stops_reading_while_others_go_on(
    bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, mode: RetrievalMode, configured: bool
) -> None:
    """`generate` feeds padding to it, and the mask says that it is text; ids come from the generation config or the tokenizer."""
    ends: dict[str, int | None] = {"eos_token_id": 257, "pad_token_id": 258}
    if not configured:
        model.generation_config.eos_token_id = model.generation_config.pad_token_id = None
    inputs = tokenizer(["Moon?", PROMPT], return_tensors="pt", padding=True)

    def stop_first_row(tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if tokens.shape[1] == inputs["input_ids"].shape[1] + 9:
            scores = scores.clone()
            scores[0, 257] = 1e9
        return scores

    generated = {"max_new_tokens": 40, "do_sample": False, "logits_processor": [stop_first_row], **ends}
    with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8, mode=mode) as memory:
        out = model.generate(**inputs, **generated)
        stopped, queries = memory.trace, memory.stats()["retrievals"]
    assert out[0, inputs["input_ids"].shape[1] + 9 :].tolist() == [257] + [258] * 30
    mine, others = ([span for span in stopped if span.row == row] for row in range(2))
    assert mine[-1].stop == len("Moon?") + 9
    assert others[-1].stop == len(PROMPT) + 39
    own = {"paper": 1 + 1, "shifted": 1 + 1, "once": 1}[mode]
    theirs = {"paper": 8 + 4, "shifted": 7 + 1 + 4, "once": 1}[mode]
    assert queries == own + theirs


def test_end_tokens_are_those_of_the_model_and_of_the_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    assert end_tokens(model, tokenizer) == {257, 258}
    model.generation_config.eos_token_id = [5, 6]
    model.generation_config.pad_token_id = None
    assert end_tokens(model, tokenizer) == {5, 6, 257, 258}
    assert end_tokens(model, None) == {5, 6}


def test_fixed_memories_are_read_by_every_token(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Also by an end of text within what is fed token by token."""
    model = model.double()
    context = tokenizer("One.<eos>Two.", return_tensors="pt")["input_ids"]
    with torch.inference_mode(), kmem.attach(model, bank.read([int(bank.ids[0])]), tokenizer=tokenizer):
        expected = model(context).logits
        out = model(context[:, :1], use_cache=True)
        steps = [out.logits]
        for column in range(1, context.shape[1]):
            out = model(context[:, column : column + 1], past_key_values=out.past_key_values)
            steps.append(out.logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, rtol=0, atol=1e-9)


def test_fixed_memories_without_tokenizer_still_check_the_model(model: PreTrainedModel) -> None:
    memories = Encoder(model, byte_tokenizer(), Profile(name="t", budget=uniform_budget(8))).encode(["text"])
    with pytest.raises(IdentityMismatchError, match="weights"), kmem.attach(tiny_model(seed=5), memories):
        pass


def test_without_a_cache_attention_is_traced_too(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    context = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    with torch.inference_mode(), kmem.attach(model, bank, tokenizer=tokenizer) as memory:
        model(context, use_cache=False)
        without = memory.trace
        model(context, use_cache=True)
        assert without == memory.trace
    assert without[0].reads[0].attention > 0


def test_under_autocast_memories_are_read_in_float32(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call of the attention gives what it gives outside for the same arguments; only the layers around it are rounded."""
    memories = Encoder(model, tokenizer, Profile(name="t", budget=uniform_budget(40))).encode(
        ["An elephant never forgets.", "Goldfish do."]
    )
    ids = tokenizer("What is the capital of France?", return_tensors="pt")["input_ids"]
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    types: set[torch.dtype] = set()
    attend = Session.attend

    def twice(self: Session, *arguments: Any) -> Any:
        inside = attend(self, *arguments)
        with torch.autocast("cpu", enabled=False):
            outside = attend(self, *arguments)
        pairs.append((inside[0], outside[0]))
        types.update(state.dtype for state in arguments if isinstance(state, torch.Tensor) and state.is_floating_point())
        return inside

    with torch.inference_mode(), kmem.attach(model, memories):
        plain = model(ids).logits
        monkeypatch.setattr(Session, "attend", twice)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            prefill = model(ids)
            model(ids[:, :1], past_key_values=prefill.past_key_values)
            model(ids, use_cache=False)
            model(ids[:, :1], use_cache=False)
    assert types == {torch.float32, torch.bfloat16}  # a cache widens values, rotation queries and keys
    assert [one.shape[1] for one, _ in pairs] == [ids.shape[1]] * 4 + [1] * 4 + [ids.shape[1]] * 4 + [1] * 4
    for inside, outside in pairs:
        assert inside.dtype == outside.dtype
        assert torch.equal(inside, outside)
    assert 0 < float((prefill.logits - plain).norm() / plain.norm()) < 0.05


def test_inference_mode_may_come_and_go(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """What is laid out in one mode is read in another, and the trace outside of both."""
    ids = tokenizer("What is the capital of France?", return_tensors="pt")["input_ids"]
    with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8) as memory:
        with torch.inference_mode():
            first = model.generate(ids, max_new_tokens=20, do_sample=False)
        inside = memory.trace
        assert torch.equal(model.generate(ids, max_new_tokens=20, do_sample=False), first)
        assert memory.trace == inside
        assert memory.trace == inside  # asking changes nothing
        with torch.inference_mode():
            cache = model(ids).past_key_values
        loss = model(ids).logits.logsumexp(-1).sum()
        loss.backward()
        assert cache is not None
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
