"""`kmem.build`: documents → chunks → memories → a bank, one finished shard after another."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from kmem.arguments import path_or_url
from kmem.encoder.anatomy import examine
from kmem.encoder.defaults import AUTO, DTYPE
from kmem.encoder.encode import Encoder, EncoderConfig
from kmem.encoder.hidden import HiddenStates
from kmem.encoder.load import load_model
from kmem.encoder.profiles import load_profile
from kmem.errors import BankExistsError, ConfigError, CorruptBankError, SourceNotFoundError, WrongTypeError
from kmem.kbuild.chunker import Chunker
from kmem.kbuild.sources import documents, named
from kmem.kstore.bank import open_bank
from kmem.kstore.claim import require_claimable
from kmem.kstore.index.config import IndexConfig
from kmem.kstore.index.factory import require_fitting
from kmem.kstore.index.retriever import Retriever
from kmem.kstore.index.retrievers import retriever
from kmem.kstore.lock import locked
from kmem.kstore.place import Place, place_of
from kmem.kstore.quant import quantiser, record_bytes
from kmem.kstore.writer import BankWriter, is_committed
from kmem.pipelines.config import BuildConfig
from kmem.pipelines.receipts import Receipts
from kmem.pipelines.report import BuildReport, Clock
from kmem.pipelines.settings import resolved
from kmem.pipelines.stages import cut, embed_shards, encode_shards, estimate, missing
from kmem.progress import Progress, silent


def build(
    sources: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    model: str | None = None,
    profile: str | None = None,
    config: BuildConfig | None = None,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> BuildReport:
    """Build a bank at `out`, a folder or URL, from files, folders, globs or `corpus:NAME`; `model`, `profile` go before those of `config`.

    A killed build leaves finished shards behind; with `resume` the same call goes on after them and ends with the same bytes, and
    finds nothing to do where it had ended. Raises BankExistsError when `out` holds a bank, an unfinished build and resume is False, or a
    build at work; SourceNotFoundError when there is nothing to read; and what the model, the embedder, the profile and the sources raise.
    """
    sources = named(sources)
    if not isinstance(config := BuildConfig() if config is None else config, BuildConfig):
        raise WrongTypeError(f"config must be a kmem.BuildConfig, not {type(config).__name__}.")
    config = replace(config, model=model or config.model, profile=profile or config.profile)
    place, progress = place_of(path_or_url(out, "out")), progress or silent
    _refuse_existing(place, resume=resume)
    progress("load", 0, 0)
    clock = Clock()
    counts: Counter[str] = Counter()
    found, codec = documents(sources, counts), quantiser(config.quantiser)  # a wrong name is told before a model is loaded
    encoder = _load_encoder(config)
    embedder = _retriever(config, encoder)
    loaded = embedder.identity()  # loads it: a wrong name is told before anything is encoded
    require_fitting(config.index, loaded.get("dim", 0))
    progress("load", 1, 1)
    clock.mark("load")

    chunks = cut(islice(Chunker(encoder.tokenizer).run(found, counts), config.limit), config.limit or 0, progress)
    if not chunks:
        raise SourceNotFoundError(f"Nothing to remember: {', '.join(sources)} gave no text at all; name files with text.")
    clock.mark("chunk")

    slots = encoder.profile.slots
    bytes_each = record_bytes(codec, slots, encoder.spec.head_dim)
    rows_per_shard = config.shard_rows or max(1, config.shard_bytes // bytes_each)
    shards = [chunks[start : start + rows_per_shard] for start in range(0, len(chunks), rows_per_shard)]
    report = BuildReport(
        bank=str(place),
        dry_run=dry_run,
        profile=encoder.profile.name,
        counts={reason: count for reason, count in counts.items() if reason not in ("chunks", "tokens")},
        chunks=len(chunks),
        tokens=sum(chunk.tokens for chunk in chunks),
        slots=slots,
        record_bytes=bytes_each,
        payload_bytes=bytes_each * len(chunks),
        shards=len(shards),
        encode=config.encode,
        seconds=clock.seconds,
    )
    receipts, settings = Receipts(place), resolved(config, encoder, embedder, chunks)
    if receipts.started:
        _require_own(receipts, settings)
    if dry_run:
        there = [receipts.finished(index) is not None for index in range(len(shards))]
        embedded = [is_committed(place) or receipts.vectors(index, rows=len(shard)) is not None for index, shard in enumerate(shards)]
        report.shards_reused = sum(there)
        to_encode = missing(shards, there) if config.encode else []
        estimate(report, encoder, embedder, to_encode=to_encode, to_embed=missing(shards, embedded), chunks=chunks)
        return report

    with locked(place):
        if resume and is_committed(place):
            _require_own(receipts, settings)  # it may have been finished since
            place.tidy()  # the build that committed may have died before it had tidied up
            open_bank(str(place)).close()
            report.shards_reused = len(shards)
        else:
            writer = BankWriter(
                place, spec=encoder.spec, quantiser=codec, rows=len(chunks), rows_per_shard=rows_per_shard, on_demand=not config.encode
            )
            receipts.start(settings)
            finished, report.shards_reused = encode_shards(shards, encoder, writer.generation, receipts, progress)
            clock.mark("encode")
            vectors = embed_shards(shards, embedder, receipts, progress)
            clock.mark("embed")
            ids = np.array([chunk.id for chunk in chunks], dtype=np.int64)
            index_config = IndexConfig(factory=config.index)
            index = writer.write_index(vectors, ids, embedder.identity(), index_config, texts=lambda: (chunk.reference for chunk in chunks))
            writer.commit(finished, index)
            clock.mark("index")
        receipts.close(report.to_dict())
    return report


def _load_encoder(config: BuildConfig) -> Encoder:
    dtype = DTYPE if config.dtype == AUTO and not config.encode else config.dtype
    model, tokenizer = load_model(config.model, dtype=dtype, device=config.device)
    anatomy = examine(model)
    profile = load_profile(config.profile, layers=anatomy.layers, heads=anatomy.heads, selector=config.selector)
    return Encoder(model, tokenizer, profile, EncoderConfig(batch_size=config.batch_size))


def _retriever(config: BuildConfig, encoder: Encoder) -> Retriever:
    return retriever(
        config.embedder,
        query_prefix=config.query_prefix,
        passage_prefix=config.passage_prefix,
        hidden=lambda: HiddenStates(encoder.model, encoder.tokenizer, batch_size=config.batch_size),
    )


def _refuse_existing(place: Place, *, resume: bool) -> None:
    """What can be said of the place before anything is loaded; whether a finished bank is this build's own is seen later."""
    started = Receipts(place).started
    if is_committed(place):
        if not (resume and started):
            raise BankExistsError(f"{place} already holds a finished bank; add to it with kmem append, or choose another --out.")
        return
    if started and not resume:
        raise BankExistsError(f"{place} holds an unfinished build; pass --resume to go on with it, or choose another --out.")
    require_claimable(place)


def _require_own(receipts: Receipts, settings: dict[str, Any]) -> None:
    """Raise ConfigError unless the unfinished build, BankExistsError unless the finished bank, is what this build would make."""
    try:
        receipts.require_same(settings)
    except (ConfigError, CorruptBankError) as error:
        if not is_committed(receipts.place):
            raise
        raise BankExistsError(f"{receipts.place} already holds a finished bank of another build: {error}") from error
