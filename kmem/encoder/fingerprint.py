"""Compute the Identity of a model with its tokenizer and profile: what must be equal for a stored key to mean the same thing."""

import hashlib
import json
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.encoder.bracket import Bracket
from kmem.identity import Identity
from kmem.profile import Profile

SAMPLES_PER_TENSOR = 64

ARCHITECTURE_FIELDS = (
    "model_type",
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "hidden_act",
    "hidden_activation",
    "rms_norm_eps",
    "rope_parameters",
    "partial_rotary_factor",
    "sliding_window",
    "layer_types",
    "query_pre_attn_scalar",
    "attn_logit_softcapping",
)


NOT_ARCHITECTURE = (
    "_attn_implementation",
    "_name_or_path",
    "architectures",
    "dtype",
    "id2label",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "tie_word_embeddings",
    "torch_dtype",
    "transformers_version",
    "use_cache",
)
"""How a model is loaded and called; names ending in `token_id` belong to the tokenizer."""


def _digest(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def architecture_digest(model: PreTrainedModel) -> str:
    """Everything besides weights that changes what keys and values are: shape, norms and RoPE, and whatever else is not its kind's default.

    The defaults themselves are left out, since a newer transformers may know more of them.
    """
    config = model.config.get_text_config()
    known = {name: getattr(config, name) for name in ARCHITECTURE_FIELDS if hasattr(config, name)}
    unusual = {
        name: value for name, value in config.to_diff_dict().items() if name not in NOT_ARCHITECTURE and not name.endswith("token_id")
    }
    return _digest(unusual | known)


def weights_digest(model: PreTrainedModel) -> str:
    """Strided samples of every tensor, rounded to bfloat16: the same checkpoint loaded in float32 or bfloat16 has the same digest."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().flatten()
        sample = flat[:: max(1, flat.numel() // SAMPLES_PER_TENSOR)].to(torch.bfloat16).view(torch.uint16).cpu()
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:16]


_tokenizer_digests: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[tuple[int, str], str]] = WeakKeyDictionary()


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Vocabulary, merges and normalisation; padding and truncation are the caller's choice and left out.

    Serialising a large vocabulary takes most of a second, so it is done once a tokenizer, and again when tokens were added.
    """
    state = (len(tokenizer), str(tokenizer.special_tokens_map))
    known = _tokenizer_digests.get(tokenizer)
    if known is None or known[0] != state:
        known = _tokenizer_digests[tokenizer] = (state, _tokenizer_digest(tokenizer))
    return known[1]


def _tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return _digest({"vocabulary": tokenizer.get_vocab(), "special": tokenizer.special_tokens_map})
    state = json.loads(backend.to_str())
    return _digest({key: value for key, value in state.items() if key not in ("padding", "truncation")})


def adapter_of(model: PreTrainedModel) -> str:
    """The digest of the adapter that was added to a model's weights (adapter.py), empty where none was."""
    return str(getattr(model, "kmem_adapter", ""))


def display_name(model: PreTrainedModel) -> str:
    """What the model was loaded by, so that it can be loaded again."""
    return str(model.config._name_or_path or type(model).__name__)


def identify(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, profile: Profile, bracket: Bracket) -> Identity:
    """The identity of memories that this model writes under this profile."""
    return Identity(
        model=display_name(model),
        architecture=architecture_digest(model),
        weights=weights_digest(model),
        tokenizer=tokenizer_digest(tokenizer),
        bracket=_digest([bracket.prefix, bracket.suffix, bracket.align]),
        budget=_digest(profile.budget),
        selector=profile.selector,
        adapter=adapter_of(model),
    )
