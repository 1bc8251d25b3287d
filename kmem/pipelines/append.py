"""`kmem.append`: more documents for a bank, as a new generation of it."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from kmem.document import Chunk
from kmem.encoder.encode import Encoder, EncoderConfig
from kmem.encoder.hidden import HiddenStates
from kmem.encoder.load import load_model
from kmem.errors import ConfigError
from kmem.kbuild.sources import named
from kmem.kstore.bank import Bank, open_bank
from kmem.kstore.claim import BUILD
from kmem.kstore.commit import commit, require_latest
from kmem.kstore.generation import GenerationWriter
from kmem.kstore.index.config import as_asked
from kmem.kstore.index.make import make_index
from kmem.kstore.index.retriever import Retriever, require_same_embedder
from kmem.kstore.index.retrievers import recorded_retriever
from kmem.kstore.lock import asking, locked
from kmem.kstore.place import LocalPlace, Place
from kmem.pipelines.compare import COMPARED_ROWS, copies_of_stored
from kmem.pipelines.config import AppendConfig, BuildConfig
from kmem.pipelines.executors.local import InProcess
from kmem.pipelines.machine import recipe_of
from kmem.pipelines.options import text_options
from kmem.pipelines.partitions import PARTITION_BYTES, Partition, partitioned
from kmem.pipelines.receipts import Receipts
from kmem.pipelines.report import BACK, NOT_COMPARED, THERE, TOLD, BuildReport, Clock
from kmem.pipelines.run import Runner
from kmem.pipelines.stages import embed_shards, encode_shards, estimate, spread
from kmem.pipelines.stats import CHUNKS, Stats
from kmem.pipelines.steps.encode import shard_chunks
from kmem.pipelines.text import OFF, TextStages
from kmem.pipelines.tools import Tools
from kmem.progress import Progress, silent

RECEIPTS = re.compile(rf"{BUILD}/g(\d+)-")
"""Where `_write` keeps the receipts of a generation."""


def append(
    bank: str | Path,
    sources: str | Path | Sequence[str | Path],
    *,
    config: AppendConfig | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> BuildReport:
    """Add what the bank does not hold yet; the model, profile, quantiser and embedder are the bank's own.

    Documents are read, cleaned and cut as the bank's build did; copies are looked for among what is appended, and then among what the bank
    holds (`AppendConfig.compare`), chunk by chunk: of an edited copy of a stored document only the chunks that changed come in. A chunk is
    known by its id (source, span and text): what is there is passed over, what was deleted comes back. An append that was stopped goes on
    when it is repeated. Raises IdentityMismatchError when the model here is not the one that wrote the bank, SourceNotFoundError when there
    is nothing to read, BankExistsError while another writer is at work, ConfigError for a comparison with a bank that was built without
    deduplication.
    """
    config, progress, names = config or AppendConfig(), progress or silent, named(sources)
    clock, counts = Clock(), Counter[str]()
    progress("load", 0, 0)
    with open_bank(bank) as base:
        texts = _text_options(base.place, config)
        if config.compare and texts.dedup_chunks.mode == OFF:
            raise ConfigError(f"{base.place} was built with --dedup {OFF}, so nothing in it counts as a copy: leave --compare out.")
        partitions, _ = partitioned(names, texts.read, counts, partition_bytes=PARTITION_BYTES, limit=config.limit)
        encoder = _load_encoder(base, config)
        embedder = recorded_retriever(base.manifest.index.embedder, hidden=lambda: HiddenStates(encoder.model, encoder.tokenizer))
        require_same_embedder(base.manifest.index.embedder, embedder.identity())
        progress("load", 1, 1)
        clock.mark("load")
        chunks, stats = _chunks(partitions, names, texts, encoder, progress)
        counts += stats.reasons()
        known, gone = set(base.ids.tolist()), set(base.manifest.deleted)
        fresh = [chunk for chunk in chunks if chunk.id not in known and chunk.id not in gone]
        revived = {chunk.id for chunk in chunks if chunk.id in gone}
        clock.mark("chunk")
        passed = Counter({THERE: len(chunks) - len(fresh) - len(revived), BACK: len(revived)})
        if fresh and texts.dedup_chunks.mode != OFF:
            if config.compare or (config.compare is None and len(base) <= COMPARED_ROWS):
                copies = copies_of_stored(base, fresh, texts.dedup_chunks, progress)
                fresh = [chunk for chunk in fresh if chunk.id not in copies]
                passed.update(copies.values())
                clock.mark("compare")
            elif config.compare is None:
                counts[NOT_COMPARED] = len(fresh)
        report = BuildReport(
            bank=str(base.place),
            dry_run=dry_run,
            profile=base.profile.name,
            counts={reason: count for reason, count in counts.items() if reason not in TOLD} | passed,
            flow=_flow(stats, passed, len(fresh)),
            chunks=len(fresh),
            tokens=sum(chunk.tokens for chunk in fresh),
            slots=base.profile.slots,
            record_bytes=base.record_bytes,
            payload_bytes=base.record_bytes * len(fresh),
            shards=-(-len(fresh) // _rows_per_shard(base, config)),
            encode=config.encode,
            seconds=clock.seconds,
        )
        if dry_run:
            if fresh:
                tokens, sample = report.tokens, spread(fresh, len(fresh), encoder.config.batch_size)
                estimate(report, encoder, embedder, to_encode=tokens if config.encode else 0, to_embed=tokens, sample=sample)
            return report
        _discard_receipts(base)
        if fresh or revived:
            with locked(base.place) as require_held:
                require_latest(base.place, base.manifest)
                base.place.tidy()  # what an append that was killed had not finished
                _write(base, encoder, embedder, fresh, revived, config, report, clock, asking(require_held, progress), require_held)
    return report


def _load_encoder(base: Bank, config: AppendConfig) -> Encoder:
    model, tokenizer = load_model(config.model or base.identity.model, dtype=base.manifest.encoder_dtype, device=config.device)
    encoder = Encoder(model, tokenizer, base.profile, EncoderConfig(batch_size=config.batch_size))
    base.identity.require_compatible(encoder.spec.identity)
    return encoder


def _text_options(place: Place, config: AppendConfig) -> BuildConfig:
    """As the bank's build had them, where it is told; else texts are taken as they are."""
    receipts = Receipts(place)
    return replace(text_options(receipts.recorded() if receipts.started else {}), limit=config.limit)


def _chunks(
    partitions: Sequence[Partition], names: Sequence[str], config: BuildConfig, encoder: Encoder, progress: Progress
) -> tuple[list[Chunk], Stats]:
    """The chunks that a build of these sources alone would keep, and what it would count."""
    recipe, tools, stats = recipe_of(config, encoder), Tools(), Stats()
    tools.put(("tokenizer", recipe.model), encoder.tokenizer)
    with TemporaryDirectory() as folder:
        place = LocalPlace(Path(folder))
        runner = Runner(place=place, executor=InProcess(tools), progress=progress)
        cut = TextStages(runner=runner, config=config, recipe=recipe, stats=stats).prepare(partitions, names).cut
        chunks = [chunk for task in cut.shards(len(cut)) for chunk in shard_chunks(place, task)]
    return chunks, stats


def _flow(stats: Stats, passed: Mapping[str, int], fresh: int) -> dict[str, dict[str, Any]]:
    """What came and what was kept; of chunks, with what was passed over."""
    flow = stats.flow()
    lost = {reason: count for reason, count in passed.items() if count}
    flow[CHUNKS] |= {"kept": fresh, "lost": flow[CHUNKS]["lost"] | lost}
    return flow


def _rows_per_shard(base: Bank, config: AppendConfig) -> int:
    return max(1, config.shard_bytes // base.record_bytes)


def _write(
    base: Bank,
    encoder: Encoder,
    embedder: Retriever,
    fresh: list[Chunk],
    revived: set[int],
    config: AppendConfig,
    report: BuildReport,
    clock: Clock,
    progress: Progress,
    require_held: Callable[[], None],
) -> None:
    """The new generation, index and manifest; shards that a stopped append of the same chunks finished are used again."""
    manifest, place = base.manifest, base.place
    generations, index = manifest.generations, manifest.index
    receipts = None
    if fresh:
        rows_per_shard, on_demand = _rows_per_shard(base, config), not config.encode
        name = manifest.next_generation((chunk.id for chunk in fresh), rows_per_shard, on_demand=on_demand)
        writer = GenerationWriter(place, name, base.spec, base.quantiser, len(fresh), rows_per_shard, on_demand=on_demand)
        shards = [fresh[start : start + rows_per_shard] for start in range(0, len(fresh), rows_per_shard)]
        receipts = Receipts(place, f"{BUILD}/{name}")
        metadata = writer.write_metadata()
        written, report.shards_reused = encode_shards(shards, encoder, writer, receipts, progress)
        clock.mark("encode")
        vectors = embed_shards(shards, embedder, receipts, progress)
        clock.mark("embed")
        ids = np.concatenate([base.all_ids, np.array([chunk.id for chunk in fresh], dtype=np.int64)])
        everything = np.concatenate([base.vectors(base.all_ids.tolist()), vectors])
        index = make_index(
            place,
            everything,
            lambda: chain(base.all_references(), (chunk.reference for chunk in fresh)),
            ids,
            index.embedder,
            config=as_asked(index),
            number=manifest.number + 1,
            embed_queries=embedder.embed_queries,
        )
        generations = (*generations, writer.finished(written, metadata))
    commit(place, manifest.changed(generations, index, set(manifest.deleted) - revived), require_held)
    clock.mark("index")
    if receipts is not None:
        receipts.discard()


def _discard_receipts(base: Bank) -> None:
    """Those of generations that are committed: their append was killed before it had discarded them itself."""
    committed = range(base.manifest.next_number)
    files = [(file, RECEIPTS.match(file)) for file in base.place.sizes(BUILD)]
    base.place.remove([file for file, found in files if found and int(found[1]) in committed])
