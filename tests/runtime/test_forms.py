"""Memories on the device as they are stored: the kernel decodes them, and answers are those of decoded numbers.

Where there is no GPU, Triton's interpreter runs the kernel on the CPU's tensors.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import kmem
from kmem.errors import NotStoredWarning
from kmem.kernels.memory_attention import LayerMemory, PlainSlots, Prepared, Segments, Slots, decodes_slots, triton
from kmem.kernels.memory_attention.quantised import Int8Slots, VqSlots
from kmem.kstore.bank import Bank, open_bank
from kmem.kstore.life import convert
from kmem.kstore.quant import Quantiser, quantiser
from kmem.kstore.trained import quantiser_for
from kmem.runtime import forms
from kmem.runtime import plan as plan_module
from kmem.runtime.forms import PlainForm, form_for
from tests.faults import files_limited_to
from tests.runtime.conftest import TEXTS
from tests.tiny import HashEmbedder, write_tiny_bank

PROMPT = "Lines?"
TOKENS = 3
CPU = torch.device("cpu")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

Force = Callable[[], list[type[Slots]]]


@pytest.fixture
def model(model: PreTrainedModel) -> PreTrainedModel:
    return model.to(DEVICE)


@pytest.fixture
def force(monkeypatch: pytest.MonkeyPatch) -> Force:
    """Once called, the device holds what is stored and Triton's kernel reads it; gives the kinds of slots that it reads.

    Until then it holds numbers.
    """
    monkeypatch.setattr(forms, "decodes_slots", lambda device, dtype: False)

    def on() -> list[type[Slots]]:
        kinds: list[type[Slots]] = []

        def prepare(memory: LayerMemory, segments: Segments) -> Prepared:
            kinds.append(type(memory.slots))
            return triton.prepare(memory, segments)

        monkeypatch.setattr(plan_module, "prepare", prepare)
        monkeypatch.setattr(forms, "decodes_slots", lambda device, dtype: True)
        return kinds

    return on


@pytest.fixture(params=["int8", "vq"])
def codec(request: pytest.FixtureRequest, bank: Bank) -> Quantiser:
    return quantiser_for(str(request.param), bank)


@pytest.fixture
def stored(codec: Quantiser, bank_path: Path, tmp_path: Path) -> Path:
    """The bank of the twelve texts, quantised."""
    convert(bank_path, codec, tmp_path / codec.name)
    return tmp_path / codec.name


def answer(path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> tuple[torch.Tensor, dict[str, float | int]]:
    """Logits of every generated token [TOKENS, vocabulary], and the counters; nothing stays on the device that isn't read."""
    with (
        open_bank(path, HashEmbedder()) as bank,
        kmem.attach(model, bank, tokenizer=tokenizer, top_k=2, every=4, mode="shifted", device_bytes=0, ahead=0) as memory,
    ):
        output = model.generate(
            **tokenizer(PROMPT, return_tensors="pt").to(model.device),
            max_new_tokens=TOKENS,
            min_new_tokens=TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        return torch.cat(output.logits), memory.stats()


def require_alike(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.equal(found.argmax(-1), expected.argmax(-1))
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_answers_are_those_of_decoded_numbers(
    stored: Path, codec: Quantiser, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, force: Force
) -> None:
    expected, before = answer(stored, model, tokenizer)
    kinds = force()
    found, stats = answer(stored, model, tokenizer)
    require_alike(found, expected)
    assert set(kinds) == {{"int8": Int8Slots, "vq": VqSlots}[codec.name]}
    assert before["decode_s"] > 0
    assert stats["decode_s"] == 0
    assert stats["copy_s"] > 0
    assert all(stats[name] == before[name] for name in before if not name.endswith("_s"))


def test_what_a_cold_bank_keeps_in_ram_is_held_as_it_would_be_stored(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, force: Force
) -> None:
    full = write_tiny_bank(tmp_path / "full", model, tokenizer, TEXTS, quantiser_name="int8", batch_size=1)
    cold = write_tiny_bank(tmp_path / "cold", model, tokenizer, TEXTS, quantiser_name="int8", encode=False)
    expected, _ = answer(full, model, tokenizer)
    kinds = force()
    with files_limited_to(0), pytest.warns(NotStoredWarning):
        found, stats = answer(cold, model, tokenizer)
    require_alike(found, expected)
    assert set(kinds) == {Int8Slots}
    assert stats["encoded"] > 0
    assert stats["decode_s"] == 0


def test_given_memories_stay_numbers(bank: Bank, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, force: Force) -> None:
    memories = bank.read(bank.ids[:2].tolist())
    inputs = tokenizer(PROMPT, return_tensors="pt")["input_ids"].to(model.device)
    with torch.inference_mode():
        with kmem.attach(model, memories):
            expected = model(inputs).logits
        kinds = force()
        with kmem.attach(model, memories) as memory:
            found = model(inputs).logits
    require_alike(found[0], expected[0])
    assert set(kinds) == {PlainSlots}
    assert memory.stats()["decode_s"] == 0


def test_quantisers_that_no_kernel_knows_are_decoded(bank: Bank, force: Force) -> None:
    force()
    for known in (None, *map(quantiser, ("fp32", "fp16", "bf16"))):
        assert form_for(known, bank.spec, device=CPU, dtype=torch.float32) == PlainForm(
            width=bank.spec.head_dim, dtype=torch.float32, quantiser=known
        )


def test_where_the_kernel_decodes_the_form_is_what_is_stored(codec: Quantiser, bank: Bank, force: Force) -> None:
    slots, dim = bank.profile.slots, bank.spec.head_dim
    here = form_for(codec, bank.spec, device=CPU, dtype=torch.bfloat16)
    assert here == PlainForm(width=dim, dtype=torch.bfloat16, quantiser=codec)
    force()
    there = form_for(codec, bank.spec, device=CPU, dtype=torch.bfloat16)
    assert (2, slots, there.width) == codec.record_shape(slots, dim)
    assert there.dtype == torch.uint8


def test_only_triton_on_a_gpu_decodes() -> None:
    gpu = torch.device("cuda")
    assert decodes_slots(gpu, torch.float32)
    assert decodes_slots(gpu, torch.bfloat16)
    assert not decodes_slots(gpu, torch.float64)
    assert not decodes_slots(CPU, torch.float32)
