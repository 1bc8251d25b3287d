"""Presets: the paper's shape, the same weights wherever they are drawn, and a tokenizer for every id."""

import pytest
import torch

from kmem.encoder.encode import Encoder
from kmem.encoder.load import load_model
from kmem.encoder.presets import MEMORY3_2B, PRESETS, usual_profile
from kmem.encoder.profiles import load_profile
from kmem.encoder.seeded import preset_tokenizer, seeded_model
from kmem.errors import UnknownNameError
from kmem.kstore.quant import quantiser, record_bytes

GIGA = 1e9
KIB = 1024


def test_memory3_2b_is_the_papers_model() -> None:
    """2.4B parameters without embeddings, width 3200, and 440 KiB a memory in bfloat16 (Memory³ §3.4, App. A)."""
    model = seeded_model("memory3-2b", device="meta")
    assert model.num_parameters() == MEMORY3_2B.parameters
    embeddings = 2 * 60_416 * 3200
    assert MEMORY3_2B.parameters - MEMORY3_2B.block_parameters == embeddings
    assert MEMORY3_2B.block_parameters / GIGA == pytest.approx(2.4, abs=0.05)
    profile = load_profile(usual_profile("preset:memory3-2b", "auto"), layers=44, heads=8)
    assert (profile.name, profile.last_layer, profile.slots) == ("memory3", 21, 22 * 8 * 8)
    assert record_bytes(quantiser("bf16"), profile.slots, MEMORY3_2B.head_dim) == 440 * KIB


def test_smaller_ones_have_the_same_ratios() -> None:
    for preset in PRESETS.values():
        assert preset.query_heads / preset.heads == 5
        assert preset.layers / preset.query_heads == 1.1
        assert preset.mlp_width == preset.width
        assert preset.head_dim == 2 * preset.query_heads


def test_weights_are_the_same_in_another_precision() -> None:
    model, tokenizer = load_model("preset:memory3-tiny")
    again, _ = load_model("preset:memory3-tiny", dtype="bfloat16")
    assert again.dtype == torch.bfloat16
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.bfloat16(), other)
    assert float(model.lm_head.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert (model.model.norm.weight == 1).all()
    profile = load_profile("auto", layers=11, heads=2)
    here, there = (Encoder(which, tokenizer, profile).spec.identity for which in (model, again))
    assert not here.mismatched_fields(there)
    assert here.model == "preset:memory3-tiny"


@pytest.mark.parametrize("name", PRESETS)
def test_every_id_has_a_text(name: str) -> None:
    tokenizer = preset_tokenizer(name)
    assert len(tokenizer) == PRESETS[name].vocabulary
    text = "Newton's laws, über-set: naïve 中文.\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("the rain in spain")["input_ids"]) < 14
    assert all(tokenizer.decode([index]) for index in range(0, len(tokenizer), 997))
    assert tokenizer.bos_token_id == len(tokenizer) - 2


def test_unknown_preset_lists_the_others() -> None:
    with pytest.raises(UnknownNameError, match="Unknown preset 'memory4'; there are memory3-2b, memory3-small, memory3-tiny"):
        load_model("preset:memory4")
