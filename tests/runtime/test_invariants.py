"""DESIGN §6, invariants 1 to 6 on tiny models. Most of them are bugs that peers ship; their issues are named beside the test."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerFast, StaticCache

import kmem
from kmem.encoder.encode import Encoder
from kmem.errors import AttachError, BankExistsError, BankNotFoundError, CorruptBankError, IdentityMismatchError, UnsupportedModelError
from kmem.kstore.bank import Bank, open_bank
from kmem.memories import Memories
from kmem.profile import Profile
from kmem.runtime.defaults import RetrievalMode
from kmem.runtime.schedule import Span
from tests.runtime.conftest import TEXTS
from tests.tiny import ARCHITECTURES, SHORT_WINDOWED, HashEmbedder, byte_tokenizer, tiny_model, uniform_budget, write_tiny_bank

PROMPT = "Question: what does a hash table do with a key, and what is the capital of France?\nAnswer:"


def generate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, *prompts: str, tokens: int = 12) -> Tensor:
    inputs = tokenizer(list(prompts), return_tensors="pt", padding=True)
    output: Tensor = model.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
    return output[:, inputs["input_ids"].shape[1] :]


# ---------------------------------------------------------------- 1. no memories ⇒ the base model, bit for bit


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_invariant_1_no_memory_bit_identical(architecture: str, implementation: str) -> None:
    """KBLaM's 'empty KB == base model', HF #46132. Nothing retrieved: `schedule=[]` reads nothing anywhere."""
    model = tiny_model(architecture)
    model.set_attn_implementation(implementation)
    tokenizer = byte_tokenizer()
    memories = Encoder(model, tokenizer, Profile(name="t", budget=uniform_budget(8))).encode(["nothing to see"])
    inputs = tokenizer(["a longer prompt", "short"], return_tensors="pt", padding=True)
    for make_cache in (partial(DynamicCache, config=model.config), partial(StaticCache, config=model.config, max_cache_len=64)):
        with torch.inference_mode():
            before = model(**inputs, past_key_values=make_cache()).logits
            with kmem.attach(model, memories, schedule=[]):
                during = model(**inputs, past_key_values=make_cache()).logits
                generated = generate(model, tokenizer, "a longer prompt", "short")
            after = model(**inputs, past_key_values=make_cache()).logits
        assert torch.equal(before, during)
        assert torch.equal(before, after)
        assert torch.equal(generated, generate(model, tokenizer, "a longer prompt", "short"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_invariant_1_no_memory_given_bit_identical(architecture: str) -> None:
    model, tokenizer = tiny_model(architecture), byte_tokenizer()
    memories = Encoder(model, tokenizer, Profile(name="t", budget=uniform_budget(8))).encode(["nothing to see"])
    inputs = tokenizer(["a longer prompt", "short"], return_tensors="pt", padding=True)
    with torch.inference_mode():
        before = model(**inputs).logits
        with kmem.attach(model, memories.take([])):
            assert torch.equal(model(**inputs).logits, before)


# ---------------------------------------------------------------- 2. a dense memory ⇒ a plain forward over its tokens


@pytest.mark.parametrize("align", ["start", "end"])
@pytest.mark.parametrize("length", [1, 63, 90, 128])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_invariant_2_dense_memory_equals_plain_forward(architecture: str, length: int, align: str) -> None:
    """float64: prefill and step by step within 1e-9 of logits of size 10 (memories of five architectures)."""
    model, tokenizer = tiny_model(architecture, dtype=torch.float64), byte_tokenizer()
    encoder = Encoder(model, tokenizer, Profile(name="dense", budget=uniform_budget(128), align=align))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(length)
    reference = torch.randint(0, 256, (length,), generator=generator).tolist()
    context = torch.randint(0, 256, (1, 70), generator=generator)
    memories = encoder.encode_tokens([reference], [1])

    bracket = encoder.bracket
    ids = torch.cat([torch.tensor([[*bracket.prefix, *reference]]), context], dim=1)
    positions = torch.tensor([[*bracket.prefix_positions(), *bracket.chunk_positions(length), *range(70)]])
    with torch.inference_mode():
        expected = model(ids, attention_mask=torch.ones_like(ids), position_ids=positions).logits[:, -70:]
        bare = model(context).logits
        with kmem.attach(model, memories):
            prefill = model(context).logits
            out = model(context[:, :40], use_cache=True)
            steps = [out.logits]
            for column in range(40, 70):
                out = model(context[:, column : column + 1], past_key_values=out.past_key_values)
                steps.append(out.logits)
    assert float((prefill - expected).abs().max()) < 1e-9
    assert float((torch.cat(steps, dim=1) - expected).abs().max()) < 1e-9
    assert float((bare - expected).abs().max()) > 0.1  # test_attached_effect_nonzero, MemOS #2313


def test_prefill_keeps_tail_keys() -> None:
    """SDPA drops the last keys of a prefill when a prefix sits in the cache and the mask is None: ours must see every token."""
    model, tokenizer = tiny_model(), byte_tokenizer()
    memories = Encoder(model, tokenizer, Profile(name="t", budget=uniform_budget(8))).encode(["some memory"])
    context = torch.randint(0, 256, (1, 30), generator=torch.Generator().manual_seed(0))
    changed = context.clone()
    changed[0, -1] = (changed[0, -1] + 1) % 256
    with torch.inference_mode(), kmem.attach(model, memories):
        assert not torch.equal(model(context).logits[0, -1], model(changed).logits[0, -1])
        assert torch.equal(model(context).logits[0, :-1], model(changed).logits[0, :-1])


def test_identical_memories_share_positions() -> None:
    """Parallel positions: a memory reads the same whether it comes first or second (MemOS #2315)."""
    model, tokenizer = tiny_model(dtype=torch.float64), byte_tokenizer()
    both = Encoder(model, tokenizer, Profile(name="t", budget=uniform_budget(8))).encode(["one memory", "and another one"])
    context = torch.randint(0, 256, (1, 30), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        with kmem.attach(model, both):
            forward = model(context).logits
        with kmem.attach(model, both.take([1, 0])):
            backward = model(context).logits
    torch.testing.assert_close(forward, backward, rtol=0, atol=1e-12)


# ---------------------------------------------------------------- 3. streaming ⇒ one forward with the same schedule


EVERY = 8
LENGTHS = (1, EVERY - 1, EVERY, EVERY + 1, 2 * EVERY + 3)


def streamed(model: PreTrainedModel, inputs: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """`generate` → its sequences, and [B, 40, V] the logits of each step in the model's own precision."""
    seen: list[Tensor] = []
    handle = model.register_forward_hook(lambda module, given, output: seen.append(output.logits[:, -1]))
    try:
        sequences: Tensor = model.generate(**inputs, max_new_tokens=40, min_new_tokens=40, do_sample=False, **options)
    finally:
        handle.remove()
    return sequences, torch.stack(seen[-40:], dim=1)


def one_shot(model: PreTrainedModel, inputs: Any, sequences: Tensor) -> Tensor:
    """[B, 40, V] the same logits from a single forward over everything but the last token."""
    prompt = inputs["input_ids"].shape[1]
    mask = torch.cat([inputs["attention_mask"], torch.ones(len(sequences), sequences.shape[1] - prompt - 1, dtype=torch.long)], dim=1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.inference_mode():
        logits: Tensor = model(sequences[:, :-1], attention_mask=mask, position_ids=positions).logits[:, prompt - 1 :]
    return logits


@pytest.mark.parametrize("mode", get_args(RetrievalMode))
@pytest.mark.parametrize("architecture", ["llama", *SHORT_WINDOWED])
def test_invariant_3_streaming_equals_one_shot(architecture: str, mode: RetrievalMode, tmp_path: Path) -> None:
    """Prompts around the chunk's length, alone and together in a left-padded batch, whole and prefilled in pieces; float64, 1e-9."""
    model, tokenizer = tiny_model(architecture), byte_tokenizer()
    prompts = [PROMPT[-length:] for length in LENGTHS]
    with open_bank(write_tiny_bank(tmp_path / "bank", model, tokenizer, TEXTS), embedder=HashEmbedder()) as bank:
        model = model.double()
        cases: list[tuple[list[str], dict[str, Any]]] = [(prompts, {}), (prompts, {"prefill_chunk_size": 6}), (prompts[-1:], {})]
        for batch, options in cases:
            inputs = tokenizer(batch, return_tensors="pt", padding=True)
            with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=EVERY, mode=mode) as memory:
                sequences, steps = streamed(model, inputs, **options)
                schedule = memory.schedule
            for row, prompt in enumerate(batch):
                own = [span for span in schedule if span.row == row]
                assert own[-1].stop == len(prompt) + 39
                assert len({span.ids for span in own}) > (mode != "once")  # the memories did change on the way
            with kmem.attach(model, bank, tokenizer=tokenizer, schedule=schedule) as memory:
                replayed = one_shot(model, inputs, sequences)
                assert memory.schedule == schedule
            assert float((steps - replayed).abs().max()) < 1e-9
            with kmem.attach(model, bank, tokenizer=tokenizer, schedule=[]):
                assert float((steps - one_shot(model, inputs, sequences)).abs().max()) > 0.01


# ---------------------------------------------------------------- 4. reading changes nothing; the same request, the same answer


def _bytes_of(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_invariant_4_store_immutable_and_four_identical_requests_equal(
    bank_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    """MemOS #2301 (generation grows the stored cache), LMCache #4463 (four requests, four answers), #562 and #1788 (lost on restart)."""
    before = _bytes_of(bank_path)
    answers, schedules = [], []
    for _ in range(2):  # a restart: the bank is closed and opened again
        with open_bank(bank_path, embedder=HashEmbedder()) as bank:
            for _ in range(2):
                with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8) as memory:
                    answers.append(generate(model, tokenizer, PROMPT, tokens=24))
                    schedules.append(memory.schedule)
    assert all(torch.equal(answers[0], other) for other in answers)
    assert all(schedules[0] == other for other in schedules)
    assert _bytes_of(bank_path) == before


def test_invariant_4_disk_equals_ram(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """LMCache #1183: F1 fell when the cache moved from CPU to disk."""
    texts = [bank.chunk(int(i)).reference for i in bank.ids]
    in_ram = Encoder(model, tokenizer, bank.profile).encode(texts, [int(i) for i in bank.ids])
    on_disk = bank.read([int(i) for i in bank.ids])
    assert torch.equal(in_ram.kv, on_disk.kv)
    assert torch.equal(in_ram.slot_position, on_disk.slot_position)
    context = tokenizer(PROMPT, return_tensors="pt")
    logits = []
    for memories in (in_ram, on_disk):
        with torch.inference_mode(), kmem.attach(model, memories, tokenizer=tokenizer):
            logits.append(model(**context).logits)
    assert torch.equal(*logits)


# ---------------------------------------------------------------- 5. never a silent wrong answer


def test_invariant_5_model_mismatch_refused(bank: Bank, tokenizer: PreTrainedTokenizerFast) -> None:
    """MemOS #2300: a cache without identity loads silently into another model."""
    with (
        pytest.raises(IdentityMismatchError, match=r"weights: bank \w+, here \w+.*load the model that wrote the bank"),
        kmem.attach(tiny_model(seed=1), bank, tokenizer=tokenizer),
    ):
        pass
    with pytest.raises(IdentityMismatchError, match="architecture"), kmem.attach(tiny_model("qwen3"), bank, tokenizer=tokenizer):
        pass


def test_invariant_5_tokenizer_mismatch_refused(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.add_tokens(["novel"])
    with pytest.raises(IdentityMismatchError, match="tokenizer"), kmem.attach(model, bank, tokenizer=tokenizer):
        pass


@pytest.mark.parametrize("field", ["rms_norm_eps", "initializer_range", "attention_multiplier"])
def test_invariant_5_a_changed_configuration_is_another_model(field: str, bank: Bank, tokenizer: PreTrainedTokenizerFast) -> None:
    """Whatever is not its kind's default counts, also fields that kmem has never heard of."""
    other = tiny_model()
    setattr(other.config, field, 0.25)
    with pytest.raises(IdentityMismatchError, match="architecture"):
        kmem.attach(other, bank, tokenizer=tokenizer)


def test_invariant_5_a_foreign_folder_is_no_bank_and_stays_as_it_is(tmp_path: Path, model: PreTrainedModel) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BankNotFoundError, match="holds no bank"):
        kmem.open(tmp_path)
    with pytest.raises(BankExistsError, match="nothing was changed"):
        kmem.build(str(tmp_path), out=tmp_path)
    assert _bytes_of(tmp_path) == {"thesis.txt": hashlib.sha256(b"mine").hexdigest()}


def test_invariant_5_damage_is_found_while_generating(bank_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """LMCache local_disk reads a truncated file as partly stale values."""
    shard = next((bank_path / "memories.zarr").rglob("kv/c.0.0.0.0"))
    original = shard.read_bytes()
    flipped = bytearray(original)
    flipped[len(flipped) // 3] ^= 1
    for damaged in (bytes(flipped), original[:-100]):
        shard.write_bytes(damaged)
        with (
            pytest.raises(CorruptBankError, match=r"kv/c\.0"),
            open_bank(bank_path, embedder=HashEmbedder()) as bank,
            kmem.attach(model, bank, tokenizer=tokenizer, top_k=12),
        ):
            generate(model, tokenizer, PROMPT, tokens=2)
    shard.write_bytes(original)
    with open_bank(bank_path, embedder=HashEmbedder()) as bank, kmem.attach(model, bank, tokenizer=tokenizer, top_k=12):
        generate(model, tokenizer, PROMPT, tokens=2)


# ---------------------------------------------------------------- 6. batches


@pytest.mark.parametrize(
    ("architecture", "mode"),
    [*((architecture, "paper") for architecture in (*ARCHITECTURES, *SHORT_WINDOWED)), ("llama", "shifted"), ("llama", "once")],
)
def test_invariant_6_ragged_left_padded_batch_equals_one_by_one(architecture: str, mode: RetrievalMode, tmp_path: Path) -> None:
    model, tokenizer = tiny_model(architecture), byte_tokenizer()
    prompts = (PROMPT, "Chess?", PROMPT + " " + PROMPT[:75])
    with open_bank(write_tiny_bank(tmp_path / "bank", model, tokenizer, TEXTS), embedder=HashEmbedder()) as bank:
        options = {"max_new_tokens": 20, "min_new_tokens": 20, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
        with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8, mode=mode) as memory:
            inputs = tokenizer(list(prompts), return_tensors="pt", padding=True)
            together = model.generate(**inputs, **options)
            spans = memory.schedule
        for row, prompt in enumerate(prompts):
            with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8, mode=mode) as memory:
                alone = model.generate(**tokenizer(prompt, return_tensors="pt"), **options)
                own = [Span(row=row, start=span.start, stop=span.stop, ids=span.ids) for span in memory.schedule]
            assert own == [span for span in spans if span.row == row]
            for step in range(20):
                torch.testing.assert_close(together.logits[step][row], alone.logits[step][0], rtol=0, atol=1e-4)
            assert torch.equal(together.sequences[row, -20:], alone.sequences[0, -20:])


# ---------------------------------------------------------------- leaving no trace, and refusing what can't be right


def test_two_threads_encode_with_one_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = Encoder(model, tokenizer, Profile(name="t", budget=uniform_budget(8)))
    expected = encoder.encode(TEXTS)
    implementation = model.config._attn_implementation
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: encoder.encode(TEXTS), range(8)))
    assert all(torch.equal(memories.kv, expected.kv) for memories in found)
    assert model.config._attn_implementation == implementation


def test_an_attachment_that_is_never_entered_says_so(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    attachment = kmem.attach(model, bank, tokenizer=tokenizer)
    assert "with kmem.attach" in repr(attachment)
    with pytest.raises(AttributeError, match="before it is entered"):
        _ = attachment.trace
    with pytest.warns(UserWarning, match="never entered"):
        attachment.__del__()
    with attachment:
        pass


def test_detach_restores_the_model_also_after_an_exception(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    def state() -> tuple[object, ...]:
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
        return model.config._attn_implementation, hooks, sorted(model.__dict__)

    def fail_inside() -> None:
        with kmem.attach(model, bank, tokenizer=tokenizer):
            generate(model, tokenizer, PROMPT, tokens=2)
            raise RuntimeError("on purpose")

    before = state()
    with pytest.raises(RuntimeError, match="on purpose"):
        fail_inside()
    assert state() == before


def test_a_failing_forward_leaves_the_session_usable(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    with kmem.attach(model, bank, tokenizer=tokenizer):
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.tensor([[10_000_000]]))
        with pytest.raises(AttachError, match="inputs_embeds"):
            model(inputs_embeds=torch.randn(1, 3, 32))
        generate(model, tokenizer, PROMPT, tokens=2)


def test_attaching_twice_is_refused(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    with (
        kmem.attach(model, bank, tokenizer=tokenizer),
        pytest.raises(AttachError, match="already"),
        kmem.attach(model, bank, tokenizer=tokenizer),
    ):
        pass


def test_assisted_decoding_is_refused(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    inputs = tokenizer(PROMPT + PROMPT, return_tensors="pt")
    with kmem.attach(model, bank, tokenizer=tokenizer), pytest.raises(UnsupportedModelError, match=r"[Aa]ssisted decoding"):
        model.generate(**inputs, max_new_tokens=8, do_sample=False, prompt_lookup_num_tokens=3)


def test_the_encoder_can_work_in_an_attached_model(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = Encoder(model, tokenizer, bank.profile)
    outside: Memories = encoder.encode(["A reference."])
    with kmem.attach(model, bank, tokenizer=tokenizer):
        assert torch.equal(encoder.encode(["A reference."]).kv, outside.kv)
        generate(model, tokenizer, PROMPT, tokens=2)


@pytest.mark.parametrize("mode", ["paper", "shifted", "once"])
def test_invariant_3_the_other_way_one_shot_equals_streaming(bank: Bank, tokenizer: PreTrainedTokenizerFast, mode: RetrievalMode) -> None:
    """A schedule of one forward pass, whose spans know no boundary between prompt and generated text, replayed token by token."""
    model = tiny_model(dtype=torch.float64)
    ids = tokenizer("What is the capital of France, and when does water boil?", return_tensors="pt")["input_ids"]
    batch = ids.repeat(2, 1)
    with torch.inference_mode():
        with kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=8, mode=mode) as memory:
            whole = model(batch).logits
            schedule = [span for span in memory.schedule if span.row == 0]  # row 1 reads nothing now
        with kmem.attach(model, bank, tokenizer=tokenizer, schedule=schedule):
            at_once = model(batch).logits
        with kmem.attach(model, bank, tokenizer=tokenizer, schedule=schedule):
            step = model(batch[:, :3])
            logits = [step.logits]
            for column in range(3, batch.shape[1]):
                step = model(batch[:, column : column + 1], past_key_values=step.past_key_values)
                logits.append(step.logits)
    streamed = torch.cat(logits, dim=1)
    torch.testing.assert_close(streamed, at_once, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(streamed[0], whole[0], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(streamed[1], whole[1], atol=1e-3) or mode == "shifted"
