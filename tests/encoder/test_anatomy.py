"""Models that can't read memories are refused with the reason; the others are measured."""

import pytest
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from kmem.encoder.anatomy import examine
from kmem.errors import UnsupportedModelError
from tests.tiny import ARCHITECTURES, SHAPE, tiny_model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_measures_a_supported_model(architecture: str) -> None:
    anatomy = examine(tiny_model(architecture))
    dim = 12 if architecture in ("qwen3", "gemma3") else 8
    assert (anatomy.layers, anatomy.heads, anatomy.query_heads, anatomy.head_dim) == (4, 2, 4, dim)


def test_learned_positions_are_refused() -> None:
    model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=32))
    with pytest.raises(UnsupportedModelError, match=r"GPT2LMHeadModel .* not rotary"):
        examine(model)


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
        {"rope_type": "longrope", "rope_theta": 1e4, "factor": 2.0, "short_factor": [1.0] * 4, "long_factor": [1.0] * 4,
         "original_max_position_embeddings": 64},
    ],
)  # fmt: skip
def test_length_dependent_rope_is_refused(rope: dict[str, object]) -> None:
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=rope))
    with pytest.raises(UnsupportedModelError, match=f"{rope['rope_type']}.*depends on the length"):
        examine(model)


def test_latent_attention_is_refused() -> None:
    config = DeepseekV3Config(
        vocab_size=32, hidden_size=16, intermediate_size=16, moe_intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, kv_lora_rank=4, q_lora_rank=4, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=4,
        n_routed_experts=2, num_experts_per_tok=1, first_k_dense_replace=1,
    )  # fmt: skip
    with pytest.raises(UnsupportedModelError, match="latent vectors"):
        examine(DeepseekV3ForCausalLM(config))


def test_linear_layers_are_refused() -> None:
    config = Qwen3NextConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=2, head_dim=8,
        linear_num_value_heads=2, linear_num_key_heads=2, linear_key_head_dim=4, linear_value_head_dim=4, num_experts=2,
        num_experts_per_tok=1, moe_intermediate_size=8, shared_expert_intermediate_size=8,
    )  # fmt: skip
    with pytest.raises(UnsupportedModelError, match="linear_attention"):
        examine(Qwen3NextForCausalLM(config))


def test_encoder_decoders_are_refused() -> None:
    config = T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=32)
    with pytest.raises(UnsupportedModelError, match="encoder-decoder"):
        examine(T5ForConditionalGeneration(config))
