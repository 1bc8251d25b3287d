"""The whole benchmark: encode once, store and read by every quantiser, and ask the model."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.bench.compression.config import CompressionConfig
from kmem.bench.compression.errors import attention_error, coded, relative_error
from kmem.bench.compression.ledger import ledger
from kmem.bench.config import QualityConfig
from kmem.bench.nll import target_nlls
from kmem.bench.quality import Asked, ask, read
from kmem.bench.share import shares
from kmem.document import Chunk
from kmem.encoder.anatomy import examine
from kmem.encoder.encode import Encoder
from kmem.encoder.profiles import load_profile
from kmem.errors import UntrainedQuantiserError
from kmem.kstore.bank import open_bank
from kmem.kstore.index.build import IndexConfig
from kmem.kstore.quant import Quantiser, quantiser
from kmem.kstore.quant.vq_train import train_vq
from kmem.kstore.writer import BankWriter
from kmem.memories import Memories
from kmem.paths import ZARR
from kmem.pipelines.config import BuildConfig
from kmem.progress import Progress, silent
from kmem.training.passages import passages
from kmem.training.probes import reference_ids

SHARD_ROWS = 64
DECODED = 160
"""Memories of a timed decoding."""
ROUNDS = 7


def measure_compression(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: CompressionConfig, folder: Path, *, progress: Progress = silent
) -> dict[str, Any]:
    """`ledger`; and a row a quantiser: bytes of a memory, `ratio` to fp16, what a bank of them stores (`payload_bytes`, `stored_bytes`,
    `overhead` = bytes of memories.zarr over payload), `key_error` and `value_error` (relative), `attention_error`, `share_of_text_gain`
    and `low95` of it, `decode_gb_per_s` (decoded fp16 bytes on one thread).

    `smallest_within`: the smallest quantiser that loses at most `config.within` of fp16's share; `default`: the one that kmem build takes.
    Banks are written below `folder`.
    """
    anatomy = examine(model)
    encoder = Encoder(model, tokenizer, load_profile(config.profile, layers=anatomy.layers, heads=anatomy.heads))
    asked = ask(tokenizer, QualityConfig(corpus=config.corpus, articles=config.articles, pool=config.articles))
    exact = _encoded(encoder, [probe.reference for probe in asked.probes], "encode", progress)
    codecs = _codecs(encoder, config, progress)
    losses = {
        "nothing": target_nlls(model, [(probe.nothing_context, probe.target) for probe in asked.probes]),
        "text": target_nlls(model, [(probe.text_context, probe.target) for probe in asked.probes]),
    }
    rows: dict[str, dict[str, Any]] = {}
    progress("measure", 0, len(codecs))
    for done, (name, codec) in enumerate(codecs.items(), 1):
        near = coded(exact, codec)
        losses[name] = read(model, asked, near, [(index,) for index in range(len(asked.probes))], lambda _: None)
        rows[name] = {
            **_stored(folder / name, codec, exact, asked),
            "key_error": relative_error(exact, near, 0),
            "value_error": relative_error(exact, near, 1),
            "attention_error": attention_error(model, asked.probes, exact, near),
            "decode_gb_per_s": _decode_speed(codec, exact),
        }
        progress("measure", done, len(codecs))
    share, low = shares(losses)
    for name, row in rows.items():
        row |= {"share_of_text_gain": share[name], "low95": low[name], "ratio": rows["fp16"]["record_bytes"] / row["record_bytes"]}
    return {
        "ledger": ledger(),
        "quantisers": rows,
        "smallest_within": _smallest(rows, config.within),
        "default": BuildConfig().quantiser,
        **({"vq_decode_gb_per_s": rows["vq"]["decode_gb_per_s"]} if "vq" in rows else {}),
        "settings": {
            "model": str(model.config._name_or_path),
            "corpus": config.corpus,
            "profile": encoder.profile.name,
            "articles": len(asked.probes),
            "skipped": asked.skipped,
            "learning": config.learning,
            "within": config.within,
        },
    }


def _codecs(encoder: Encoder, config: CompressionConfig, progress: Progress) -> dict[str, Quantiser]:
    """fp16 is always among them; what must be trained learns from passages that nobody asks about."""
    found: dict[str, Quantiser] = {}
    for name in dict.fromkeys(("fp16", *config.quantisers)):
        try:
            found[name] = quantiser(name)
        except UntrainedQuantiserError:
            learned = passages(config.corpus, held_out=False)[: config.learning]
            references = [reference_ids(encoder.tokenizer, passage) for passage in learned]
            found[name] = train_vq(_encoded(encoder, references, "encode to learn", progress), progress=progress)
    return found


def _encoded(encoder: Encoder, references: Sequence[Sequence[int]], stage: str, progress: Progress) -> Memories:
    progress(stage, 0, len(references))
    return encoder.encode_tokens(references, list(range(len(references))), progress=lambda done: progress(stage, done, len(references)))


def _stored(folder: Path, codec: Quantiser, memories: Memories, asked: Asked) -> dict[str, Any]:
    """Write a real bank of them, and read its sizes."""
    chunks = [
        Chunk(id=row, document_id=row, source="bench", title=passage.title, text=passage.body, start=0, end=len(passage.body), tokens=1)
        for row, passage in enumerate(asked.pool[: len(memories)])
    ]
    writer = BankWriter(folder, memories.spec, codec, len(memories), SHARD_ROWS)
    shards = []
    for index in range(writer.shard_count):
        rows = writer.shard_rows(index)
        shards.append(writer.write_shard(index, memories.take(rows), chunks[rows.start : rows.stop]))
    vectors = np.eye(len(memories), 384, dtype=np.float32)
    writer.commit(shards, writer.write_index(vectors, np.arange(len(memories)), {"name": "none", "dim": 384}, IndexConfig()))
    with open_bank(folder) as bank:
        sizes = bank.sizes()
    zarr_bytes = sum(path.stat().st_size for path in (folder / ZARR).rglob("*") if path.is_file())
    return {
        "record_bytes": sizes.record_bytes,
        "payload_bytes": sizes.payload_bytes,
        "stored_bytes": sizes.stored_bytes,
        "overhead": zarr_bytes / sizes.payload_bytes,
    }


def _decode_speed(codec: Quantiser, memories: Memories) -> float:
    """Gigabytes of float16 that one thread decodes a second, the best of several rounds."""
    records = np.concatenate([codec.encode(memories.kv)] * -(-DECODED // len(memories)))[:DECODED]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            codec.decode(records)
            times.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return 2e-9 * len(records) * memories.kv[0].numel() / min(times)


def _smallest(rows: dict[str, dict[str, Any]], within: float) -> str:
    bar = rows["fp16"]["share_of_text_gain"] - within
    return min((name for name in rows if rows[name]["share_of_text_gain"] >= bar), key=lambda name: rows[name]["record_bytes"])
