"""The whole benchmark: encode once, store and read by every quantiser, and ask the model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.bench.compression.config import CompressionConfig
from kmem.bench.compression.errors import attention_error, coded, relative_error
from kmem.bench.compression.ledger import ledger
from kmem.bench.compression.stored import decode_gb_per_s, stored_sizes
from kmem.bench.config import QualityConfig
from kmem.bench.nll import target_nlls
from kmem.bench.quality import ask, read
from kmem.bench.share import shares
from kmem.encoder.anatomy import examine
from kmem.encoder.encode import Encoder
from kmem.encoder.fingerprint import display_name
from kmem.encoder.profiles import load_profile
from kmem.errors import UntrainedQuantiserError
from kmem.kstore.quant import Quantiser, quantiser
from kmem.kstore.quant.vq_train import train_vq
from kmem.memories import Memories
from kmem.pipelines.config import BuildConfig
from kmem.progress import Progress, silent
from kmem.training.passages import passages
from kmem.training.probes import reference_ids


def measure_compression(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: CompressionConfig, folder: Path, *, progress: Progress = silent
) -> dict[str, Any]:
    """`ledger`; and a row a quantiser: bytes of a memory, `ratio` to fp16, what a bank of them stores (`payload_bytes`, `stored_bytes`,
    `overhead` = bytes of memories.zarr over payload), `key_error` and `value_error` (relative), `attention_error`, `share_of_text_gain`
    and `low95` of it, `decode_gb_per_s` (decoded fp16 bytes on one thread; None where nothing is decoded).

    `smallest_within`: the smallest quantiser that loses at most `config.within` of fp16's share; `default`: the one that kmem build takes;
    `vq_decode_gb_per_s`. Where the text itself gains nothing, shares and `smallest_within` are None. Banks are written below `folder`.
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
            **stored_sizes(folder / name, codec, exact, asked.pool),
            "key_error": relative_error(exact, near, 0),
            "value_error": relative_error(exact, near, 1),
            "attention_error": attention_error(model, asked.probes, exact, near),
            "decode_gb_per_s": decode_gb_per_s(codec, exact),
        }
        progress("measure", done, len(codecs))
    share, low = shares(losses)
    for name, row in rows.items():
        row |= {"share_of_text_gain": share[name], "low95": low[name], "ratio": rows["fp16"]["record_bytes"] / row["record_bytes"]}
    return {
        "ledger": ledger(),
        "quantisers": rows,
        "smallest_within": smallest_within(rows, config.within),
        "default": BuildConfig().quantiser,
        **({"vq_decode_gb_per_s": rows["vq"]["decode_gb_per_s"]} if "vq" in rows else {}),
        "settings": {
            "model": display_name(model),
            "corpus": config.corpus,
            "profile": encoder.profile.name,
            "articles": len(asked.probes),
            "skipped": asked.skipped,
            "learning": config.learning,
            "within": config.within,
        },
    }


def smallest_within(rows: Mapping[str, Mapping[str, Any]], within: float) -> str | None:
    """Among the quantisers whose share is at most `within` below that of `fp16`, the one with the smallest record; None without shares."""
    best = rows["fp16"]["share_of_text_gain"]
    if best is None:
        return None
    return min((name for name in rows if rows[name]["share_of_text_gain"] >= best - within), key=lambda name: rows[name]["record_bytes"])


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
