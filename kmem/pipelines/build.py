"""`kmem.build`: documents → chunks → memories → a bank, one finished shard after another."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from kmem import __version__
from kmem.encoder.anatomy import examine
from kmem.encoder.encode import Encoder, EncoderConfig
from kmem.encoder.load import load_model, resolve_dtype
from kmem.encoder.profiles import load_profile
from kmem.errors import BankExistsError, SourceNotFoundError
from kmem.identity import content_id
from kmem.kbuild.chunker import Chunker
from kmem.kbuild.document import Chunk
from kmem.kbuild.sources import documents
from kmem.kstore.index.embed import Embedder
from kmem.kstore.manifest import Shard
from kmem.kstore.quant import quantiser
from kmem.kstore.writer import BankWriter, is_committed
from kmem.pipelines.config import BuildConfig
from kmem.pipelines.progress import Progress, silent
from kmem.pipelines.receipts import Receipts
from kmem.pipelines.report import BuildReport, Clock


def build(
    sources: Sequence[str],
    *,
    out: str | Path,
    model: str | None = None,
    profile: str | None = None,
    config: BuildConfig | None = None,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress = silent,
) -> BuildReport:
    """Build a bank at `out` from files, folders, globs or `corpus:NAME`; `model` and `profile` go before those of `config`.

    A killed build leaves finished shards behind; with `resume` the same call goes on after them and ends with the same bytes.
    Raises BankExistsError when `out` holds a bank, or an unfinished build and resume is False; SourceNotFoundError when there is nothing
    to read; and what the model, the profile and the sources raise.
    """
    config = config or BuildConfig()
    config = replace(config, model=model or config.model, profile=profile or config.profile)
    out = Path(out)
    _refuse_existing(out, resume=resume, dry_run=dry_run)
    clock = Clock()
    encoder = _load_encoder(config)
    clock.mark("load")

    counts: Counter[str] = Counter()
    progress("chunk", 0, config.limit or 0)
    chunks = list(islice(Chunker(encoder.tokenizer).run(documents(sources, counts), counts), config.limit))
    if not chunks:
        raise SourceNotFoundError(f"Nothing to remember: {', '.join(sources)} gave no text at all.")
    progress("chunk", len(chunks), len(chunks))
    clock.mark("chunk")

    codec, slots = quantiser(config.quantiser), encoder.profile.slots
    record_bytes = int(np.prod(codec.record_shape(slots, encoder.spec.head_dim))) * codec.record_dtype().itemsize
    rows_per_shard = config.shard_rows or max(1, config.shard_bytes // record_bytes)
    shards = [chunks[start : start + rows_per_shard] for start in range(0, len(chunks), rows_per_shard)]
    report = BuildReport(
        bank=str(out),
        dry_run=dry_run,
        counts={reason: count for reason, count in counts.items() if reason not in ("chunks", "tokens")},
        chunks=len(chunks),
        tokens=sum(chunk.tokens for chunk in chunks),
        slots=slots,
        record_bytes=record_bytes,
        payload_bytes=record_bytes * len(chunks),
        shards=len(shards),
        seconds=clock.seconds,
    )
    embedder = Embedder(config.embedder)
    if dry_run:
        _estimate(report, encoder, embedder, chunks)
        return report

    receipts = Receipts(out)
    writer = BankWriter(out, spec=encoder.spec, quantiser=codec, rows=len(chunks), rows_per_shard=rows_per_shard)
    receipts.start(_resolved(config, encoder, chunks))
    finished, report.shards_reused = _encode_shards(shards, encoder, writer, receipts, progress)
    clock.mark("encode")
    vectors = _embed_shards(shards, embedder, receipts, progress)
    clock.mark("embed")
    index = writer.write_index(vectors, np.array([chunk.id for chunk in chunks], dtype=np.int64), embedder.identity())
    writer.commit(finished, index)
    clock.mark("index")
    receipts.write_stats(report.to_dict())
    return report


def _load_encoder(config: BuildConfig) -> Encoder:
    model, tokenizer = load_model(config.model, dtype=resolve_dtype(config.dtype, config.device), device=config.device)
    anatomy = examine(model)
    profile = load_profile(config.profile, layers=anatomy.layers, heads=anatomy.heads, selector=config.selector)
    return Encoder(model, tokenizer, profile, EncoderConfig(batch_size=config.batch_size))


def _refuse_existing(out: Path, *, resume: bool, dry_run: bool) -> None:
    if dry_run:
        return
    if is_committed(out):
        raise BankExistsError(f"{out} already holds a finished bank; choose another --out, or delete that folder first.")
    if Receipts(out).started and not resume:
        raise BankExistsError(f"{out} holds an unfinished build; pass --resume to go on with it, or choose another --out.")


def _resolved(config: BuildConfig, encoder: Encoder, chunks: Sequence[Chunk]) -> dict[str, Any]:
    """Everything that decides the bytes of the bank: a resumed build must agree with all of it."""
    return {
        **{key: value for key, value in config.to_dict().items() if key != "model"},
        "dtype": str(encoder.model.dtype),
        "identity": encoder.spec.identity.to_dict(),
        "chunks": len(chunks),
        "content": content_id(*(chunk.id for chunk in chunks)),
        "kmem_version": __version__,
    }


def _encode_shards(
    shards: Sequence[Sequence[Chunk]], encoder: Encoder, writer: BankWriter, receipts: Receipts, progress: Progress
) -> tuple[list[Shard], int]:
    """Write the shards that have no receipt yet → all receipts, and how many were there already."""
    total, done, reused = sum(map(len, shards)), 0, 0
    finished = []
    progress("encode", 0, total)
    for index, chunks in enumerate(shards):
        shard = receipts.finished(index)
        if shard is None:
            base = done
            memories = encoder.encode(
                [chunk.reference for chunk in chunks],
                [chunk.id for chunk in chunks],
                progress=lambda encoded, base=base: progress("encode", base + encoded, total),  # type: ignore[misc]
            )
            shard = writer.write_shard(index, memories, chunks)
            receipts.finish(index, shard)
        else:
            reused += 1
        done += len(chunks)
        finished.append(shard)
        progress("encode", done, total)
    return finished, reused


def _embed_shards(shards: Sequence[Sequence[Chunk]], embedder: Embedder, receipts: Receipts, progress: Progress) -> np.ndarray:
    """[N, dim] embeddings of all references, shard by shard."""
    total, done = sum(map(len, shards)), 0
    parts = []
    progress("embed", 0, total)
    for index, chunks in enumerate(shards):
        vectors = receipts.vectors(index)
        if vectors is None:
            vectors = embedder.embed([chunk.reference for chunk in chunks])
            receipts.save_vectors(index, vectors)
        done += len(chunks)
        parts.append(vectors)
        progress("embed", done, total)
    return np.concatenate(parts)


def _estimate(report: BuildReport, encoder: Encoder, embedder: Embedder, chunks: Sequence[Chunk]) -> None:
    """Encode and embed one batch spread over the corpus, and extrapolate by tokens."""
    sample = list(chunks[:: max(1, len(chunks) // encoder.config.batch_size)])[: encoder.config.batch_size]
    share = report.tokens / max(1, sum(chunk.tokens for chunk in sample))
    texts = [chunk.reference for chunk in sample]
    for name, work in (("encode", encoder.encode), ("embed", embedder.embed)):
        work(texts[:1])  # warm up: weights are read from disk on the first pass
        began = time.perf_counter()
        work(texts)
        report.seconds[name] = (time.perf_counter() - began) * share
