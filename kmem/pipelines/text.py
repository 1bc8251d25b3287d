"""The stages from sources to shards of text: read, deduplicate, chunk, deduplicate chunks, cut. No model runs but its tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kmem.errors import SourceNotFoundError
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.pieces import Rejected, require_readable
from kmem.kbuild.quality.load import load_scorer
from kmem.kstore.index.retrievers import retriever
from kmem.pipelines.config import BuildConfig
from kmem.pipelines.ledger import DROPPED, KEPT, REJECTED, Receipt
from kmem.pipelines.partitions import Partition, digest, waves
from kmem.pipelines.run import Runner
from kmem.pipelines.stats import Stats
from kmem.pipelines.steps.chunk import CHUNK, ChunkStep, Sifted
from kmem.pipelines.steps.cut import CUT, Cut, cut_shards
from kmem.pipelines.steps.deduplicate import DEDUPLICATE, DEDUPLICATE_CHUNKS, DeduplicateStep, Signed
from kmem.pipelines.steps.read import READ, ReadStep
from kmem.pipelines.steps.score import SCORE, ScoreStep
from kmem.pipelines.steps.site import site_of
from kmem.pipelines.tools import Recipe

OFF = "none"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """cut: the kept chunks. sources: digests of what was read, for whoever resumes."""

    cut: Cut
    partitions: int
    sources: dict[str, str]


@dataclass(kw_only=True)
class TextStages:
    """Runs them for one build. Every stage's counts go to `stats`."""

    runner: Runner
    config: BuildConfig
    recipe: Recipe
    stats: Stats
    _read: list[Receipt] = field(default_factory=list)
    _chunked: list[Receipt] = field(default_factory=list)
    _verdicts: dict[int, list[str]] = field(default_factory=dict)
    """By partition, the keys of the receipts of what dropped some of its documents."""

    def prepare(self, partitions: Sequence[Partition], sources: Sequence[str]) -> Prepared:
        """Raises SourceNotFoundError where nothing is left, and what reading raises."""
        config, cut = self.config, None
        for wave, group in enumerate(waves(partitions, limited=config.limit is not None)):
            self._read_all(group)
            if config.dedup.mode != OFF:
                verdict = self._deduplicate(wave, DEDUPLICATE, READ, config.dedup, self._read, len(group))
                self._verdicts |= {partition.index: [verdict.key] for partition in group}
            if config.quality.scorer is not None:
                self._score_all(group)
            self._cut_all(group)
            if config.dedup_chunks.mode != OFF:
                self._deduplicate(wave, DEDUPLICATE_CHUNKS, CHUNK, config.dedup_chunks, self._chunked, len(group))
            drops = (DEDUPLICATE_CHUNKS,) if config.dedup_chunks.mode != OFF else ()
            if config.limit is None or self._chunks_so_far() >= config.limit or len(self._read) == len(partitions):
                cut = cut_shards(self.runner.place, len(self._read), drops, config.limit)
                if config.limit is None or len(cut) >= config.limit:
                    break
        read = partitions[: len(self._read)]
        require_readable(
            (piece for partition in read for piece in partition.pieces),
            {source for receipt in self._read for source in receipt.facts["gave"]},
            {source: Rejected(**lost) for receipt in reversed(self._read) for source, lost in receipt.facts["lost"].items()},
        )
        if cut is None or not len(cut):
            raise SourceNotFoundError(self._nothing(sources))
        self.stats.add(CUT, cut.counts, 0.0)
        self.stats.require_handed_on(sum(int(receipt.facts["documents"]) for receipt in self._chunked))
        return Prepared(cut=cut, partitions=len(self._read), sources=sources_of(self._read))

    def _nothing(self, sources: Sequence[str]) -> str:
        lost = ", ".join(
            f"{count:,} {reason}" for reason, count in sorted(self.stats.reasons().items()) if reason.startswith((DROPPED, REJECTED))
        )
        if lost:
            way_out = "name other files, or switch off what dropped them (kmem build --help, Texts)"
            return f"Nothing to remember: all of {', '.join(sources)} was set aside ({lost}); {way_out}."
        return f"Nothing to remember: {', '.join(sources)} gave no text at all; name files with text."

    def read_step(self) -> ReadStep:
        """What is done to each partition first."""
        config = self.config
        return ReadStep(
            site=site_of(self.runner.place), read=config.read, rules=config.rules, languages=config.languages, dedup=config.dedup
        )

    def _read_all(self, group: Sequence[Partition]) -> None:
        self._read += self._ran(READ, self.runner.run(self.read_step(), group, units=lambda partition: max(1, partition.size_bytes)))

    @property
    def _drops(self) -> tuple[str, ...]:
        """The stages before scoring that drop documents."""
        return (DEDUPLICATE,) if self.config.dedup.mode != OFF else ()

    def _score_all(self, group: Sequence[Partition]) -> None:
        name = self.config.quality.scorer or ""
        step = ScoreStep(site=site_of(self.runner.place), quality=self.config.quality, scored_by=load_scorer(name, retriever).digest)
        tasks = [Sifted(index=part.index, key=self._known(part.index), drops=self._drops) for part in group]
        for receipt in self._ran(SCORE, self.runner.run(step, tasks)):
            self._verdicts.setdefault(receipt.index, []).append(receipt.key)

    def _cut_all(self, group: Sequence[Partition]) -> None:
        config = self.config
        step = ChunkStep(site=site_of(self.runner.place), recipe=self.recipe, chunk=config.chunk, dedup=config.dedup_chunks)
        drops = *self._drops, *((SCORE,) if config.quality.scorer is not None else ())
        tasks = [Sifted(index=part.index, key=self._known(part.index), drops=drops) for part in group]
        sizes = {part.index: max(1, part.size_bytes) for part in group}
        self._chunked += self._ran(CHUNK, self.runner.run(step, tasks, units=lambda task: sizes[task.index]))

    def _known(self, index: int) -> str:
        """What a partition's documents follow from, and which of them are left."""
        return digest([self._read[index].key, self._read[index].facts["text"], self._verdicts.get(index, [])])

    def _deduplicate(self, wave: int, stage: str, source: str, config: DedupConfig, receipts: list[Receipt], new: int) -> Receipt:
        step = DeduplicateStep(site=site_of(self.runner.place), dedup=config, source=source, stage=stage)
        keys = tuple(digest([receipt.key, receipt.facts.get("text")]) for receipt in receipts)
        task = Signed(index=wave, first=len(receipts) - new, end=len(receipts), keys=keys)
        (receipt,) = self._ran(stage, self.runner.run(step, [task]))
        return receipt

    def _ran(self, stage: str, receipts: list[Receipt]) -> list[Receipt]:
        for receipt in receipts:
            self.stats.add(stage, receipt.counts, receipt.seconds, receipt.span)
        return receipts

    def _chunks_so_far(self) -> int:
        return sum(receipt.counts.get(KEPT, 0) for receipt in self._chunked)


def sources_of(read: Sequence[Receipt]) -> dict[str, str]:
    """How many partitions were read, and digests of what was in them."""
    found = {name: digest([receipt.facts[name] for receipt in read]) for name in ("pieces", "stamps", "text")}
    return {"partitions": str(len(read)), **found}
