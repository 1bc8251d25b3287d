"""What kmem needs to know of a model, and a clear refusal where explicit memories can't work."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from kmem.errors import UnsupportedModelError

STATIC_ROPE = ("default", "linear", "llama3", "yarn", "proportional")
"""RoPE kinds whose angle depends on the position alone. `dynamic` and `longrope` change with the length of the sequence."""

MASKED_KINDS = ("full_attention", "sliding_attention")


@dataclass(frozen=True, kw_only=True, eq=False)
class Anatomy:
    """decoder: the module whose forward takes input_ids; attentions: the attention modules of its L layers, where some have none (a state
    space of B'MOJO) of those that do; H, Q and D as in the shape alphabet.
    """

    decoder: nn.Module
    attentions: tuple[nn.Module, ...]
    heads: int
    query_heads: int
    head_dim: int

    @property
    def layers(self) -> int:
        return len(self.attentions)


def examine(model: PreTrainedModel) -> Anatomy:
    """Find the model's attention layers; raise UnsupportedModelError, naming the cause, where memories can't work."""
    name, config = type(model).__name__, model.config.get_text_config()
    for cause in _obstacles(model, config):
        raise UnsupportedModelError(f"{name} can't read explicit memories: {cause}.")
    decoder = model.get_decoder()
    query_heads = config.num_attention_heads
    return Anatomy(
        decoder=decoder,
        attentions=tuple(_attention_of(layer) for _, layer in _attending(decoder)),  # type: ignore[misc]
        heads=_heads(config),
        query_heads=query_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // query_heads,
    )


def _heads(config: Any) -> int:
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def _attending(decoder: nn.Module) -> list[tuple[int, nn.Module]]:
    """Layers with their numbers, less those that say they don't attend."""
    return [(index, layer) for index, layer in enumerate(decoder.layers) if getattr(layer, "attends", True)]  # type: ignore[arg-type]


def _attention_of(layer: nn.Module) -> nn.Module | None:
    found = [child for child in layer.children() if hasattr(child, "layer_idx") and type(child).__name__.endswith("Attention")]
    return found[0] if len(found) == 1 else None


def _obstacles(model: PreTrainedModel, config: Any) -> Iterator[str]:
    if config.is_encoder_decoder:
        yield "it is an encoder-decoder, and memories are for decoders"
    if getattr(config, "kv_lora_rank", None):
        yield "its attention stores latent vectors (MLA), not keys and values per head"
    if model.dtype == torch.float16:
        yield "its weights are float16, which rounds away what tells models apart (load it in float32 or bfloat16)"
    decoder = model.get_decoder()
    if not hasattr(decoder, "rotary_emb"):
        yield "its positions are not rotary (RoPE), so a stored key can't be placed before the context"
    if not model._can_set_attn_implementation():
        yield "its attention does not go through transformers' AttentionInterface"
    yield from _rope_obstacles(config)
    yield from _layer_obstacles(decoder, config)


def _rope_obstacles(config: Any) -> Iterator[str]:
    parameters = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    for rope in nested or [parameters]:
        kind = rope.get("rope_type", "default")
        if kind not in STATIC_ROPE:
            yield f"its RoPE kind {kind!r} depends on the length of the whole sequence (supported: {', '.join(STATIC_ROPE)})"


def _layer_obstacles(decoder: nn.Module, config: Any) -> Iterator[str]:
    for kind in getattr(config, "layer_types", None) or ():
        if kind not in MASKED_KINDS:
            yield f"it has layers of kind {kind!r} (supported: {', '.join(MASKED_KINDS)})"
    heads, attending = _heads(config), _attending(decoder)
    if not attending:
        yield "none of its layers attends, and memories are read by attention"
    for index, layer in attending:
        attention = _attention_of(layer)
        if attention is None:
            yield f"layer {index} ({type(layer).__name__}) has no softmax attention of its own"
            return
        if getattr(attention, "is_kv_shared_layer", False):
            yield f"layer {index} shares the keys and values of another layer"
        if hasattr(attention, "sinks"):
            yield f"layer {index} has learned attention sinks"
        projection, dim = getattr(attention, "k_proj", None), getattr(attention, "head_dim", None)
        if projection is not None and dim is not None and projection.out_features != heads * dim:
            yield f"layer {index} has {projection.out_features // dim} key-value heads of {dim}, other layers {heads}"
