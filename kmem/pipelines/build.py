"""`kmem.build`: documents → chunks → memories → a bank, as one list of steps; an executor decides where they run."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kmem.arguments import path_or_url
from kmem.errors import BankExistsError, ConfigError, CorruptBankError, SourceError, SourceNotFoundError, WrongTypeError
from kmem.kbuild.language import Languages
from kmem.kbuild.quality.load import require_scorer
from kmem.kbuild.sources import named
from kmem.kstore.bank import open_bank
from kmem.kstore.claim import require_claimable
from kmem.kstore.lock import asking, kept, locked, require_nobody_at_work
from kmem.kstore.place import LocalPlace, Place, place_of
from kmem.kstore.quant import quantiser, record_bytes
from kmem.kstore.writer import is_committed
from kmem.pipelines.closing import CONFIG, draw, gather_rejects, versions
from kmem.pipelines.config import BuildConfig, ExecutorConfig
from kmem.pipelines.machine import Machine, machine
from kmem.pipelines.memories import MemoryStages
from kmem.pipelines.options import Options
from kmem.pipelines.partitions import Partition, digest, partitioned, pieces_digest, stamps_digest
from kmem.pipelines.receipts import STAGES, VERSIONS, Receipts
from kmem.pipelines.report import TOLD, BuildReport
from kmem.pipelines.run import Runner
from kmem.pipelines.settings import resolved
from kmem.pipelines.stages import estimate, spread
from kmem.pipelines.stats import Stats
from kmem.pipelines.steps.cut import Cut
from kmem.pipelines.steps.encode import ShardTask, shard_chunks
from kmem.pipelines.steps.read import CHANGED, text_digest
from kmem.pipelines.text import Prepared, TextStages
from kmem.pipelines.watch import Watch
from kmem.progress import Progress, silent


def build(
    sources: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    model: str | None = None,
    profile: str | None = None,
    config: BuildConfig | None = None,
    executor: ExecutorConfig | None = None,
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> BuildReport:
    """Build a bank at `out`, a folder or URL, from files, folders, globs or `corpus:NAME`; `model`, `profile` go before those of `config`.

    A killed build leaves what it finished behind; with `resume` the same call goes on after it, on as many workers as it is given then,
    and ends with the same bytes; it finds nothing to do where it had ended. tell: given a sentence about where the work can be watched.
    Raises BankExistsError when `out` holds a bank, an unfinished build and resume is False, or a build at work; SourceNotFoundError when
    there is nothing to read; WorkersLostError when a cluster goes away; and what the model, the embedder, the profile and the sources
    raise.
    """
    sources = named(sources)
    if not isinstance(config := BuildConfig() if config is None else config, BuildConfig):
        raise WrongTypeError(f"config must be a kmem.BuildConfig, not {type(config).__name__}.")
    config, executor = replace(config, model=model or config.model, profile=profile or config.profile), executor or ExecutorConfig()
    place, progress = place_of(path_or_url(out, "out")), progress or silent
    _refuse_existing(place, resume=resume)
    counts: Counter[str] = Counter()
    begun = Receipts(place).partition_bytes  # a build that goes on keeps it
    partitions, partition_bytes = partitioned(
        sources, config.read, counts, partition_bytes=begun or executor.partition_bytes, limit=None if begun else config.limit
    )
    executor = replace(executor, partition_bytes=partition_bytes)
    _require_known(config)
    with machine(config, executor, progress, here=dry_run) as running:
        if tell is not None and running.executor.announcement:
            tell(running.executor.announcement)
        work = _Work(
            sources=sources,
            config=config,
            executor=executor,
            place=place,
            machine=running,
            partitions=partitions,
            listed=counts,
            progress=progress if dry_run else Watch(place, progress),
        )
        return work.foretell() if dry_run else work.do(resume=resume)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One build. listed: what was counted while the sources were looked up. require_held: what `locked` gave."""

    sources: Sequence[str]
    config: BuildConfig
    executor: ExecutorConfig
    place: Place
    machine: Machine
    partitions: Sequence[Partition]
    listed: Counter[str]
    progress: Progress
    require_held: Callable[[], None] = kept
    stats: Stats = field(default_factory=Stats)

    def do(self, *, resume: bool) -> BuildReport:
        """Build, or go on, or find that nothing is left to do."""
        place, receipts = self.place, Receipts(self.place)
        settings = resolved(self.config, self.machine.encoder, self.machine.embedder)
        settings["partition_bytes"] = self.executor.partition_bytes
        if fresh := not receipts.started:
            require_claimable(place)
        else:
            _require_own(receipts, settings)
        with locked(place) as require_held:
            if resume and is_committed(place):
                _require_own(receipts, settings)  # it may have been finished since
                self._require_same_sources(receipts)
                place.tidy()  # the build that committed may have died before it had tidied up
                open_bank(str(place)).close()
                report = self._as_it_was(receipts)
            else:
                receipts.start(settings)
                options = Options(sources=tuple(self.sources), out=str(place), build=self.config, executor=self.executor)
                place.replace(CONFIG, options.to_yaml().encode())
                try:
                    report = replace(self, require_held=require_held)._build(receipts)
                except (ConfigError, SourceError, SourceNotFoundError):
                    if fresh and not receipts.settled:  # nothing was found to remember, so nothing is left behind
                        _leave_nothing(receipts)
                    raise
            receipts.close()
        return report

    def foretell(self) -> BuildReport:
        """What would be done: the text stages run in a folder that is deleted afterwards, and one batch goes through the models."""
        receipts, machine = Receipts(self.place), self.machine
        if receipts.started:
            _require_own(receipts, resolved(self.config, machine.encoder, machine.embedder))
        with TemporaryDirectory() as folder:
            here = LocalPlace(Path(folder))
            tasks, report = self._shards_and_report(self._prepare(here), dry_run=True)
            there = [receipts.finished(task.index) is not None for task in tasks]
            done = is_committed(self.place)
            embedded = [done or receipts.has_vectors(task.index, rows=task.rows, dim=machine.dim) for task in tasks]
            report.shards_reused = sum(there)
            encoder, embedder = machine.encoder, machine.recipe.retriever(machine.tools)
            every = (chunk for task in tasks for chunk in shard_chunks(here, task))
            estimate(
                report,
                encoder,
                embedder,
                to_encode=_tokens(here, tasks, there) if self.config.encode else 0,
                to_embed=_tokens(here, tasks, embedded),
                sample=spread(every, report.chunks, encoder.config.batch_size),
            )
        return report

    def _build(self, receipts: Receipts) -> BuildReport:
        prepared = self._prepare(self.place)
        cut = prepared.cut
        receipts.settle({"chunks": len(cut), "content": cut.content, "sources": prepared.sources})
        _, report = self._shards_and_report(prepared, dry_run=False)
        stages = MemoryStages(runner=self._runner(self.place), config=self.config, machine=self.machine, stats=self.stats)

        def ready(reused: int) -> None:
            """Before the commit: a build that dies right after it has said all the same what it did."""
            self.require_held()
            report.shards_reused, report.counts, report.flow = reused, self._counts(), self.stats.flow()
            gather_rejects(self.place)
            draw(self.place, self.stats.to_dict(), cut)
            receipts.note(report.to_dict() | {STAGES: self.stats.to_dict(), VERSIONS: versions()})

        stages.write(cut, self._rows_per_shard, ready=ready, require_held=self.require_held)
        self.progress("index", len(cut), len(cut))  # not asking: it is committed
        return report

    def _prepare(self, place: Place) -> Prepared:
        stages = TextStages(runner=self._runner(place), config=self.config, recipe=self.machine.recipe, stats=self.stats)
        prepared = stages.prepare(self.partitions, self.sources)
        self.machine.clock.mark("chunk")
        return prepared

    def _runner(self, place: Place) -> Runner:
        return Runner(place=place, executor=self.machine.executor, progress=asking(self.require_held, self.progress))

    @property
    def _record_bytes(self) -> int:
        spec = self.machine.encoder.spec
        return record_bytes(quantiser(self.config.quantiser), spec.profile.slots, spec.head_dim)

    @property
    def _rows_per_shard(self) -> int:
        return self.config.shard_rows or max(1, self.config.shard_bytes // self._record_bytes)

    def _shards_and_report(self, prepared: Prepared, *, dry_run: bool) -> tuple[list[ShardTask], BuildReport]:
        cut: Cut = prepared.cut
        tasks = cut.shards(self._rows_per_shard)
        profile = self.machine.encoder.profile
        return tasks, BuildReport(
            bank=str(self.place),
            dry_run=dry_run,
            profile=profile.name,
            counts=self._counts(),
            flow=self.stats.flow(),
            chunks=len(cut),
            tokens=cut.tokens,
            slots=profile.slots,
            record_bytes=self._record_bytes,
            payload_bytes=self._record_bytes * len(cut),
            shards=len(tasks),
            encode=self.config.encode,
            seconds=self.machine.clock.seconds,
        )

    def _counts(self) -> dict[str, int]:
        counts = self.listed + self.stats.reasons()
        return {reason: count for reason, count in sorted(counts.items()) if reason not in TOLD}

    def _require_same_sources(self, receipts: Receipts) -> None:
        """Raise BankExistsError where the sources of a finished bank are not those at hand; only files written since are read again."""
        recorded = receipts.recorded().get("sources")
        if recorded is None:  # an older kmem did not say
            return
        read = self.partitions[: int(recorded["partitions"])]
        if recorded["pieces"] == digest([pieces_digest(partition) for partition in read]):
            if recorded["stamps"] == digest([stamps_digest(partition) for partition in read]):
                return
            step = TextStages(runner=self._runner(self.place), config=self.config, recipe=self.machine.recipe, stats=self.stats).read_step()
            if recorded["text"] == digest([text_digest(step, partition) for partition in read]):
                return
        raise BankExistsError(f"{self.place} already holds a finished bank of another build: {CHANGED}; choose another --out.")

    def _as_it_was(self, receipts: Receipts) -> BuildReport:
        """The report of a finished build, of which nothing had to be done again."""
        report = receipts.stats_of(BuildReport)
        report.shards_reused, report.seconds = report.shards, self.machine.clock.seconds
        return report


def _leave_nothing(receipts: Receipts) -> None:
    """Undo what a build that found nothing to remember wrote into a new place."""
    receipts.discard()
    if (folder := receipts.place.folder) is not None:
        with suppress(OSError):  # it may have held something before
            folder.rmdir()


def _tokens(place: Place, tasks: Sequence[ShardTask], done: Sequence[bool]) -> int:
    """Of the chunks of the shards that are not done."""
    return sum(chunk.tokens for task, there in zip(tasks, done, strict=True) if not there for chunk in shard_chunks(place, task))


def _require_known(config: BuildConfig) -> None:
    """Raise for a wrong name before a model is loaded, or anything is written."""
    quantiser(config.quantiser)
    Languages(config.languages)
    if config.quality.scorer is not None:
        require_scorer(config.quality.scorer)


def _refuse_existing(place: Place, *, resume: bool) -> None:
    """What can be said of the place before anything is loaded; whether a finished bank is this build's own is seen later."""
    started = Receipts(place).started
    require_nobody_at_work(place)
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
