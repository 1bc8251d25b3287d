"""The encoder against plain transformers: what it stores is what the model computes, and it computes no more than it needs."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

from kmem.encoder.capture import Projections, run_prefix
from kmem.encoder.encode import Encoder, EncoderConfig
from kmem.encoder.rope import unrotate
from kmem.errors import ConfigError
from kmem.memories import EMPTY_SLOT
from kmem.profile import Profile
from tests.tiny import ARCHITECTURES, SHAPE, byte_tokenizer, tiny_model, uniform_budget

REFERENCES = ["A hash table maps keys to values.", "Short.", "The quick brown fox jumps over the lazy dog, again and again."]


def encoder(architecture: str = "llama", *, budget: Any = None, dtype: torch.dtype = torch.float64, **profile: Any) -> Encoder:
    return Encoder(
        tiny_model(architecture, dtype=dtype), byte_tokenizer(), Profile(name="test", budget=budget or uniform_budget(8), **profile)
    )


def test_ragged_batch_equals_one_by_one() -> None:
    ours = encoder()
    together = ours.encode(REFERENCES)
    for row, reference in enumerate(REFERENCES):
        alone = ours.encode([reference])
        assert torch.equal(alone.slot_position[0], together.slot_position[row])
        torch.testing.assert_close(alone.kv[0], together.kv[row], rtol=0, atol=1e-12)
        assert alone.ids[0] == together.ids[row]
        assert together.lengths[row] == len(reference)


def test_batches_depend_on_content_alone() -> None:
    """The same references in another order give the same bits: batches are formed by length, ties by order within equal lengths."""
    ours = encoder(dtype=torch.float32)
    forward, backward = ours.encode(REFERENCES), ours.encode(REFERENCES[::-1])
    assert torch.equal(forward.kv, backward.kv.flip(0))


def test_uneven_budgets_fill_their_slots_in_order() -> None:
    budget = ((3, 0), (0, 0), (1, 128), (0, 0))
    ours = encoder(budget=budget)
    memories = ours.encode(REFERENCES)
    dense = encoder(budget=uniform_budget(128)).encode(REFERENCES)
    assert memories.kv.shape == (3, 2, 132, 8)
    profile, dense_profile = ours.profile, dense.spec.profile
    for slot in range(profile.slots):
        position = int(memories.slot_position[0, slot])
        if position == EMPTY_SLOT:
            assert memories.kv[0, :, slot].abs().sum() == 0
            continue
        same = (dense_profile.slot_layer == profile.slot_layer[slot]) & (dense_profile.slot_head == profile.slot_head[slot])
        (at,) = [s for s in range(dense_profile.slots) if same[s] and int(dense.slot_position[0, s]) == position]
        torch.testing.assert_close(memories.kv[0, :, slot], dense.kv[0, :, at], rtol=0, atol=1e-12)


def test_nothing_past_the_last_memory_layer_is_run() -> None:
    ours = encoder(budget=((8, 8), (8, 8), (0, 0), (0, 0)))
    ran: list[str] = []
    for name, module in ours.model.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    ours.encode(REFERENCES[:1])
    assert "model.layers.0.mlp" in ran
    assert "model.layers.1.self_attn.k_proj" in ran
    forbidden = ("model.layers.1.self_attn.o_proj", "model.layers.1.mlp", "model.layers.2", "model.layers.3", "lm_head", "model.norm")
    assert not [name for name in ran if name.startswith(forbidden)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_unrotating_gives_the_projections_before_rope(architecture: str) -> None:
    model = tiny_model(architecture, dtype=torch.float64)
    seen: dict[int, Tensor] = {}
    norms = hasattr(model.model.layers[0].self_attn, "k_norm")
    for index, layer in enumerate(model.model.layers):
        last: nn.Module = layer.self_attn.k_norm if norms else layer.self_attn.k_proj
        last.register_forward_hook(lambda _m, _a, out, index=index: seen.__setitem__(index, out))
    worst: list[float] = []

    def receive(projections: Projections) -> None:
        _, key = unrotate(projections.module, projections.query, projections.key, projections.cos, projections.sin)
        expected = seen[projections.layer]
        if expected.ndim == 3:  # k_proj's output, heads not split yet
            expected = expected.view(*expected.shape[:2], 2, -1)
        expected = expected if expected.shape[1] == 2 else expected.transpose(1, 2)
        worst.append(float((key - expected).abs().max()))

    ids = torch.arange(40)[None]
    run_prefix(model, ids, torch.ones_like(ids), ids - 100, last_layer=3, receive=receive)
    assert len(worst) == 4
    assert max(worst) < 1e-6  # transformers computes cos and sin in float32


def test_unrotating_undoes_yarn_scaling() -> None:
    rope = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=rope)).double()
    query, key = torch.randn(1, 4, 9, 8, dtype=torch.float64), torch.randn(1, 2, 9, 8, dtype=torch.float64)
    cos, sin = model.model.rotary_emb(query, torch.arange(9)[None])
    assert abs(float(cos[0, 0, 0]) - 1) > 0.05  # the scaling is there
    turned_query, turned_key = modeling_llama.apply_rotary_pos_emb(query, key, cos, sin)
    back = unrotate(model.model.layers[0].self_attn, turned_query, turned_key, cos, sin)
    torch.testing.assert_close(back[0], query)
    torch.testing.assert_close(back[1], key)


def test_overlong_and_empty_references_are_refused() -> None:
    with pytest.raises(ConfigError, match="Reference 0 has 129 tokens; a memory holds 1 to 128"):
        encoder().encode(["x" * 129])
    with pytest.raises(ConfigError, match="Reference 1 has 0 tokens"):
        encoder().encode(["x", ""])


def test_a_profile_of_another_shape_names_both_shapes() -> None:
    with pytest.raises(ConfigError, match=r"30 layers × 3 key-value heads, but the model has 4 × 2"):
        encoder(budget=uniform_budget(8, 30, 3))


def test_bf16_memories_are_near_float32() -> None:
    """bfloat16 keeps 8 bits: relative error of a stored vector stays within 2 %, 3 layers deep."""
    exact = encoder(dtype=torch.float32, budget=uniform_budget(128)).encode(REFERENCES).kv
    rough = encoder(dtype=torch.bfloat16, budget=uniform_budget(128)).encode(REFERENCES).kv.float()
    assert float((exact - rough).norm() / exact.norm()) < 0.02


def test_batch_size_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="batch_size must be at least 1, not 0"):
        EncoderConfig(batch_size=0)


def test_identity_survives_another_dtype_but_not_other_weights() -> None:
    identity = encoder(dtype=torch.float32).spec.identity
    assert not identity.mismatched_fields(encoder(dtype=torch.bfloat16).spec.identity)
    other = Encoder(tiny_model(seed=1), byte_tokenizer(), Profile(name="test", budget=uniform_budget(8)))
    assert identity.mismatched_fields(other.spec.identity) == ["weights"]
    assert identity.mismatched_fields(encoder("qwen2", dtype=torch.float32).spec.identity) == ["architecture", "weights"]
    assert replace(identity, tokenizer="x").mismatched_fields(identity) == ["tokenizer"]


def test_identity_sees_one_late_weight_and_another_rope() -> None:
    identity = encoder(dtype=torch.float32).spec.identity
    model = tiny_model()
    with torch.no_grad():
        weight = model.model.layers[3].mlp.down_proj.weight
        weight.view(-1)[-weight.numel() // 2 :] += 0.5
    profile = Profile(name="test", budget=uniform_budget(8))
    assert identity.mismatched_fields(Encoder(model, byte_tokenizer(), profile).spec.identity) == ["weights"]
    turned = tiny_model()
    turned.config.rope_parameters = {**turned.config.rope_parameters, "rope_theta": 5e5}
    assert "architecture" in identity.mismatched_fields(Encoder(turned, byte_tokenizer(), profile).spec.identity)


def test_batches_go_by_length_not_by_order() -> None:
    """Five references in batches of two: whatever order they come in, the same ones share a batch, so the bits are the same."""
    texts = ["a", "two words", "three little words", "four words are here now", "and five is the longest of all of them"]
    model, profile = tiny_model(), Profile(name="test", budget=uniform_budget(8))
    ours = Encoder(model, byte_tokenizer(), profile, EncoderConfig(batch_size=2))
    sizes: list[tuple[int, int]] = []
    model.model.embed_tokens.register_forward_hook(lambda _m, args, _out: sizes.append(tuple(args[0].shape)))
    forward = ours.encode(texts)
    expected = [(2, len(texts[1])), (2, len(texts[3])), (1, len(texts[4]))]
    assert [(rows, columns - len(ours.bracket.prefix)) for rows, columns in sizes] == expected
    sizes.clear()
    shuffled = ours.encode([texts[i] for i in (3, 0, 4, 2, 1)])
    assert [(rows, columns - len(ours.bracket.prefix)) for rows, columns in sizes] == expected
    assert torch.equal(shuffled.kv, forward.kv[[3, 0, 4, 2, 1]])
