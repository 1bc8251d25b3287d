"""The stages from shards of text to a bank: encode, embed, index, commit."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kmem.errors import BuildError
from kmem.kbuild.rejected import Rejected
from kmem.kstore.claim import BUILD
from kmem.kstore.index.config import IndexConfig
from kmem.kstore.manifest import Manifest
from kmem.kstore.quant import quantiser
from kmem.kstore.writer import BankWriter
from kmem.pipelines.config import BuildConfig
from kmem.pipelines.fill import ParallelFill
from kmem.pipelines.ledger import CAME, Receipt
from kmem.pipelines.machine import Machine
from kmem.pipelines.receipts import Receipts
from kmem.pipelines.run import Runner
from kmem.pipelines.stats import Stats
from kmem.pipelines.steps.cut import Cut
from kmem.pipelines.steps.embed import EmbedStep
from kmem.pipelines.steps.encode import EncodeStep, ShardTask, hole, shard_chunks, shard_of, stored_references
from kmem.pipelines.steps.site import site_of
from kmem.pipelines.vectors import all_vectors


@dataclass(frozen=True, kw_only=True)
class MemoryStages:
    """Runs them for one build. Every stage's counts go to `stats`."""

    runner: Runner
    config: BuildConfig
    machine: Machine
    stats: Stats

    def write(self, cut: Cut, rows_per_shard: int, *, ready: Callable[[int], None], require_held: Callable[[], None]) -> Manifest:
        """The committed bank. ready: called before the commit, with how many of the shards were there already.

        require_held: as in `commit`.
        """
        config, machine, place = self.config, self.machine, self.runner.place
        spec, codec = machine.encoder.spec, quantiser(config.quantiser)
        writer = BankWriter(place, spec=spec, quantiser=codec, rows=len(cut), rows_per_shard=rows_per_shard, on_demand=not config.encode)
        receipts = Receipts(place)
        encode = EncodeStep(
            site=site_of(place),
            recipe=machine.recipe,
            identity=spec.identity,
            quantiser=config.quantiser,
            rows=len(cut),
            rows_per_shard=writer.generation.rows_per_shard,
            encode=config.encode,
        )
        tasks = [replace(task, aside=receipts.aside(task.index)) for task in cut.shards(rows_per_shard)]
        encoded = self.runner.run(encode, tasks, units=_rows)
        reused = sum(receipt.reused for receipt in encoded)
        machine.clock.mark("encode")
        tasks = _as_done(tasks, encoded)
        embedded = self.runner.run(EmbedStep(site=encode.site, recipe=machine.recipe, dim=machine.dim), tasks, units=_rows)
        machine.clock.mark("embed")
        tasks, before = _as_done(tasks, embedded), tasks
        for task, earlier in zip(tasks, before, strict=True):
            if task.aside != earlier.aside:  # a chunk that has no vector has no memory either
                (encoded[task.index],) = self.runner.run(encode, [task], units=_rows)
        for stage, done in (("encode", encoded), ("embed", embedded)):
            for receipt in done:
                self.stats.add(stage, receipt.counts, receipt.seconds, receipt.span)
        if (came := self.stats.counts["encode"][CAME]) != len(cut):
            raise BuildError(f"{len(cut)} chunks were to be encoded, but {came} were; please report it.")

        ids, gone = _ids(self.runner, cut, tasks)

        def texts() -> Iterator[str]:
            return (text for task in tasks for text in stored_references(place, task))

        self.runner.progress("index", 0, len(cut))
        fill = ParallelFill(runner=self.runner, ids=ids, rows_per_shard=writer.generation.rows_per_shard)
        with all_vectors(receipts, [task.rows for task in tasks], machine.dim) as vectors:
            index = writer.write_index(
                vectors,
                ids,
                machine.embedder,
                IndexConfig(factory=config.index, target_recall=config.target_recall),
                texts=texts,
                fill=fill if fill.worthwhile else None,
                embed_queries=lambda asked: machine.recipe.retriever(machine.tools).embed_queries(asked),
            )
        machine.clock.mark("index")
        ready(reused)
        return writer.commit([shard_of(receipt) for receipt in encoded], index, deleted=gone, require_held=require_held)


def _rows(task: ShardTask) -> int:
    return task.rows


def _as_done(tasks: Sequence[ShardTask], receipts: Sequence[Receipt]) -> list[ShardTask]:
    """The tasks with the rows that were found to have to stay empty."""
    return [
        replace(task, aside=tuple((int(row), str(reason)) for row, reason in receipt.facts["aside"]))
        for task, receipt in zip(tasks, receipts, strict=True)
    ]


def _ids(runner: Runner, cut: Cut, tasks: Sequence[ShardTask]) -> tuple[NDArray[np.int64], list[int]]:
    """[N] ids of all rows, and those of rows that stay empty, whose chunks are written down."""
    ids, gone, first = cut.ids.copy(), list[int](), 0
    for task in tasks:
        if task.aside:
            chunks = list(shard_chunks(runner.place, task))
            lines = []
            for row, reason in task.aside:
                ids[first + row] = hole(chunks[row]).id
                gone.append(int(ids[first + row]))
                rejected = Rejected(source=chunks[row].source, reason=reason, sample=chunks[row].text[:80])
                lines.append(f"{json.dumps(rejected.to_dict(), ensure_ascii=False)}\n")
            runner.place.replace(f"{BUILD}/aside/{task.index:05d}.rejected.jsonl", "".join(lines).encode())
        first += task.rows
    return ids, gone
