"""Tiny seeded random-weight models of real architectures and a byte tokenizer: engine behaviour is tested in milliseconds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GraniteConfig,
    GraniteForCausalLM,
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

from kmem.document import Chunk
from kmem.encoder.defaults import BATCH_SIZE
from kmem.encoder.encode import Encoder, EncoderConfig
from kmem.identity import content_id
from kmem.kstore.quant import quantiser
from kmem.kstore.writer import BankWriter
from kmem.models.bmojo import BMojoConfig, BMojoForCausalLM
from kmem.profile import Profile

VOCABULARY = 259
SHAPE: dict[str, Any] = {
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
        "mistral, window 16": (MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=16)),
        "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SHAPE)),
        "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SHAPE, head_dim=12)),
        "gemma3": (
            Gemma3ForCausalLM,
            Gemma3TextConfig(**SHAPE, head_dim=12, sliding_window=512, query_pre_attn_scalar=20, sliding_window_pattern=2),
        ),
        "gemma3, window 16": (
            Gemma3ForCausalLM,
            Gemma3TextConfig(**SHAPE, head_dim=12, sliding_window=16, query_pre_attn_scalar=20, sliding_window_pattern=2),
        ),
        "granite": (GraniteForCausalLM, GraniteConfig(**SHAPE, logits_scaling=8.0)),
        "cohere": (CohereForCausalLM, CohereConfig(**SHAPE, logit_scale=0.25)),
        "bmojo": (BMojoForCausalLM, BMojoConfig(**SHAPE, window=16, chunk=8, eidetic=12, state_size=8, state_heads=4)),
        "gemma2": (Gemma2ForCausalLM, Gemma2Config(**SHAPE, head_dim=12, query_pre_attn_scalar=20, final_logit_softcapping=2.0)),
    }


SHORT_WINDOWED = ("mistral, window 16", "gemma3, window 16")
"""The same with a sliding window that test prompts outgrow."""
SCALED_LOGITS = ("granite", "cohere", "gemma2")
"""Models whose logits are not what their output embeddings give: scaled or capped."""
BMOJO = "bmojo"
"""Ours, whose attention is not one softmax over all that came before."""
ARCHITECTURES = tuple(name for name in _configs() if name not in (*SHORT_WINDOWED, *SCALED_LOGITS, BMOJO))


def tiny_model(architecture: str = "llama", *, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
    """A 4-layer model with random weights large enough that attention is far from uniform."""
    kind, config = _configs()[architecture]
    build: Callable[[PretrainedConfig], PreTrainedModel] = kind
    return loud(build(config), seed=seed).to(dtype)


def loud(model: PreTrainedModel, *, seed: int = 0) -> PreTrainedModel:
    """The model with seeded weights about ten times larger than an untrained model's."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.15 if parameter.shape[0] != VOCABULARY else 0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def uniform_budget(tokens: int, layers: int = 4, heads: int = 2) -> tuple[tuple[int, ...], ...]:
    """The same budget for every head of every layer."""
    return tuple((tokens,) * heads for _ in range(layers))


class HashEmbedder:
    """Character trigrams hashed into 64 dimensions: texts that share words are near, and nothing is downloaded."""

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in enumerate(texts):
            padded = f"  {text.lower()} "
            for start in range(len(padded) - 2):
                vectors[row, content_id(padded[start : start + 3]) % 64] += 1
        lengths = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
        unit: NDArray[np.float32] = vectors / lengths
        return unit

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.embed(texts)

    def identity(self) -> dict[str, Any]:
        return {"name": "hash-trigrams", "dim": 64}


def write_tiny_bank(
    path: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    *,
    budget: tuple[tuple[int, ...], ...] | None = None,
    quantiser_name: str = "fp32",
    rows_per_shard: int = 5,
    encode: bool = True,
    batch_size: int = BATCH_SIZE,
) -> Path:
    """A committed bank of these texts, one chunk each; without `encode`, its memories are written on demand."""
    profile = Profile(name="tiny", budget=budget or uniform_budget(8), suffix="\n")
    encoder = Encoder(model, tokenizer, profile, EncoderConfig(batch_size=batch_size))
    ids = [content_id(text) for text in texts]
    chunks = [
        Chunk(id=i, document_id=i, source=f"text#{row}", title="", text=text, start=0, end=len(text), tokens=len(text))
        for row, (i, text) in enumerate(zip(ids, texts, strict=True))
    ]
    writer = BankWriter(path, encoder.spec, quantiser(quantiser_name), len(texts), rows_per_shard, on_demand=not encode)
    parts = [[chunks[row] for row in writer.shard_rows(index)] for index in range(writer.shard_count)]
    if encode:
        memories = encoder.encode(texts, ids)
        shards = [writer.write_shard(index, memories.take(list(writer.shard_rows(index))), part) for index, part in enumerate(parts)]
    else:
        shards = [writer.generation.write_texts(index, part) for index, part in enumerate(parts)]
    embedder = HashEmbedder()
    writer.commit(shards, writer.write_index(embedder.embed(texts), np.array(ids, dtype=np.int64), embedder.identity()))
    return path


def save_tiny_model(folder: Path) -> Path:
    """The tiny Llama and the byte tokenizer as a Hugging Face folder, for whatever loads models by path."""
    tiny_model().save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder
