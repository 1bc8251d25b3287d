"""Tiny seeded random-weight models of real architectures and a byte tokenizer: engine behaviour is tested in milliseconds."""

from collections.abc import Callable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCABULARY = 259
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """256 bytes, then <bos>, <eos>, <pad>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", padding_side="left")


def _configs() -> dict[str, tuple[type[PreTrainedModel], PretrainedConfig]]:
    return {
        "llama": (LlamaForCausalLM, LlamaConfig(**SHAPE)),
        "mistral": (MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=512)),
        "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SHAPE)),
        "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SHAPE, head_dim=12)),
        "gemma3": (
            Gemma3ForCausalLM,
            Gemma3TextConfig(**SHAPE, head_dim=12, sliding_window=512, query_pre_attn_scalar=20, sliding_window_pattern=2),
        ),
    }


ARCHITECTURES = tuple(_configs())


def tiny_model(architecture: str = "llama", *, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
    """A 4-layer model with random weights large enough that attention is far from uniform."""
    kind, config = _configs()[architecture]
    torch.manual_seed(seed)
    build: Callable[[PretrainedConfig], PreTrainedModel] = kind
    model = build(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.15 if parameter.shape[0] != VOCABULARY else 0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.to(dtype)


def uniform_budget(tokens: int, layers: int = 4, heads: int = 2) -> tuple[tuple[int, ...], ...]:
    """The same budget for every head of every layer."""
    return tuple((tokens,) * heads for _ in range(layers))
