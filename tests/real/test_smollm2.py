"""The invariants on the real model, and the figures of DESIGN §3."""

import shutil

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import kmem
from kmem.bench.config import QualityConfig
from kmem.bench.quality import measure_quality
from kmem.encoder.encode import Encoder
from kmem.encoder.fingerprint import weights_digest
from kmem.encoder.load import load_model
from kmem.encoder.profiles import load_profile
from kmem.memories import EMPTY_SLOT
from kmem.profile import Profile

pytestmark = pytest.mark.real
Smollm2 = tuple[PreTrainedModel, PreTrainedTokenizerBase]

ARTICLE = (
    "hash table: A data structure that maps keys to values. A hash function turns each key into an index of an array of buckets, "
    "from which the value can be found in constant time on average; collisions are resolved by chaining or by open addressing."
)
QUESTION = "Question: What is a hash table?\nAnswer:"


@pytest.mark.parametrize("align", ["start", "end"])
def test_invariant_2_dense_memory_equals_plain_forward(smollm2: Smollm2, align: str) -> None:
    """float32: within 1e-3 of logits of size 20, prefill and step by step."""
    model, tokenizer = smollm2
    encoder = Encoder(model, tokenizer, Profile(name="dense", budget=((128,) * 3,) * 30, align=align))  # type: ignore[arg-type]
    reference = tokenizer(ARTICLE)["input_ids"]
    context = tokenizer(QUESTION + " A hash table is", return_tensors="pt")["input_ids"]
    length = context.shape[1]
    ids = torch.cat([torch.tensor([[*encoder.bracket.prefix, *reference]]), context], dim=1)
    positions = torch.tensor([[*encoder.bracket.prefix_positions(), *encoder.bracket.chunk_positions(len(reference)), *range(length)]])
    with torch.inference_mode():
        expected = model(ids, attention_mask=torch.ones_like(ids), position_ids=positions).logits[:, -length:]
        with kmem.attach(model, encoder.encode_tokens([reference], [1]), tokenizer=tokenizer):
            prefill = model(context).logits
            out = model(context[:, :5], use_cache=True)
            steps = [out.logits]
            for column in range(5, length):
                out = model(context[:, column : column + 1], past_key_values=out.past_key_values)
                steps.append(out.logits)
    assert float(expected.abs().max()) > 10
    assert float((prefill - expected).abs().max()) < 1e-3
    assert float((torch.cat(steps, dim=1) - expected).abs().max()) < 1e-3


def test_invariant_6_left_padded_batch_equals_one_by_one(smollm2: Smollm2) -> None:
    model, tokenizer = smollm2
    tokenizer.padding_side = "left"
    memories = Encoder(model, tokenizer, Profile(name="u", budget=((8,) * 3,) * 30, suffix="\n")).encode([ARTICLE])
    prompts = [QUESTION, "Question: What turns a key into an index, and what is done about collisions in such a table?\nAnswer:"]
    options = {"max_new_tokens": 8, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    with kmem.attach(model, memories, tokenizer=tokenizer):
        together = model.generate(**tokenizer(prompts, return_tensors="pt", padding=True), **options)
        for row, prompt in enumerate(prompts):
            alone = model.generate(**tokenizer(prompt, return_tensors="pt"), **options)
            assert torch.equal(together.sequences[row, -8:], alone.sequences[0, -8:])
            for step in range(8):
                torch.testing.assert_close(together.logits[step][row], alone.logits[step][0], rtol=0, atol=1e-4)


def test_bfloat16_is_the_same_model_and_encodes_nearly_the_same(smollm2: Smollm2) -> None:
    model, tokenizer = smollm2
    rough, _ = load_model("smollm2", dtype="bfloat16")
    assert weights_digest(rough) == weights_digest(model)
    profile = load_profile("smollm2-720", layers=30, heads=3)
    exact, near = (Encoder(m, tokenizer, profile).encode([ARTICLE]) for m in (model, rough))
    same = ((exact.slot_position == near.slot_position) & (exact.slot_position != EMPTY_SLOT))[0]
    assert int(same.sum()) > 0.6 * int((exact.slot_position != EMPTY_SLOT).sum())  # 0.86 on average over 16 articles
    assert float((exact.kv - near.kv.float())[0, :, same].norm() / exact.kv[0, :, same].norm()) < 0.03  # at most 0.015 there


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="FOLDOC comes from Debian's dict-foldoc package, and there is no apt-get here")
def test_foldoc_shares_of_the_shipped_profile(smollm2: Smollm2) -> None:
    """DESIGN §3's table, calibrated, on articles that no setting was chosen with: dense 100 %, 720 slots 94 % of the text's gain."""
    figures = measure_quality(*smollm2, QualityConfig(articles=6, pool=6))
    assert figures["settings"]["skipped"] == 64
    share = figures["share_of_text_gain"]
    assert share["dense"] == pytest.approx(1.00, abs=0.05)
    assert share["profile_720"] == pytest.approx(0.94, abs=0.05)
    assert share["profile_360"] > 0.72
    assert share["among_five_720"] > 0.82
    assert share["uniform8"] == pytest.approx(0.22, abs=0.05)
    assert share["random8"] < share["uniform8"]
