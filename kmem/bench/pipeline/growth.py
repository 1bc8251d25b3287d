"""What a chunk costs in small and in large corpora: it should not depend on how many there are."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import mean
from typing import Any

from kmem.bench.pipeline.builds import Built, built, null_encoder
from kmem.bench.pipeline.config import PipelineConfig
from kmem.bench.pipeline.texts import first, write_lines
from kmem.document import Document
from kmem.pipelines.config import ExecutorConfig
from kmem.progress import Progress

PLACES = 4
PARTITION_BYTES = 1 << 20
"""Of the builds here, so that the larger ones have more partitions, too: the corpora fill less than one of a user's."""
_LOADED = ("load", 1, 1)


def measure_growth(
    several: Sequence[Document], density: float, model: str, config: PipelineConfig, folder: Path, progress: Progress
) -> dict[str, Any]:
    """`cost_growth`: processor seconds a chunk of a build of the largest of `config.chunks` over those of the size before it.
    `marginal_growth`: what a chunk more costs from that size to the largest, over what it costs from the size before that; None with fewer
    than three sizes, or where the smaller step cost nothing.

    Whole builds (`kmem.build` in this process) with the null encoder, from the moment the model is loaded until the bank is committed:
    reading, rules, signatures, both deduplications, chunker, cutting into shards, texts on disk, vectors of nothing (8 numbers each, so
    what an index of real ones costs is not in it), commit. `ms_per_chunk`: by size. `ms_per_chunk_by_stage`: of them by the clock, by size
    and stage. `chunks_built`: by size, how many there were really, by which the costs are divided.
    density: chunks in a megabyte of the documents.
    """
    sources = {size: write_lines(first(endless(several), size / density), folder / f"{size}.jsonl") for size in config.chunks}
    # The smaller sizes before and after the largest: a machine that slows down meanwhile does so for both.
    turns = [*config.chunks, *reversed(config.chunks[:-1])]
    costs: dict[int, list[float]] = {size: [] for size in config.chunks}
    clocks: dict[int, list[dict[str, float]]] = {size: [] for size in config.chunks}
    chunks: dict[int, int] = {}
    _timed(sources[turns[0]], model, folder)  # what is compiled and opened once
    done = 0
    progress("grow", done, sum(turns))
    for size in turns:
        one, seconds = _timed(sources[size], model, folder)
        chunks[size] = one.report.chunks
        costs[size].append(seconds / one.report.chunks)
        clocks[size].append(_by_clock(one))
        done += size
        progress("grow", done, sum(turns))
    cost = {size: mean(own) for size, own in costs.items()}
    before, largest = config.chunks[-2:]
    return {
        "cost_growth": round(cost[largest] / cost[before], PLACES),
        "marginal_growth": _marginal([chunks[size] for size in config.chunks], [cost[size] * chunks[size] for size in config.chunks]),
        "ms_per_chunk": {str(size): round(1000 * own, PLACES) for size, own in cost.items()},
        "ms_per_chunk_by_stage": {
            str(size): {name: round(1000 * mean(one[name] for one in own) / chunks[size], PLACES) for name in own[0]}
            for size, own in clocks.items()
        },
        "chunks_built": {str(size): chunks[size] for size in config.chunks},
    }


def _timed(source: str, model: str, folder: Path) -> tuple[Built, float]:
    """A build, and the processor seconds of all its threads from when its model was loaded until its bank was committed."""
    loaded = committed = 0.0

    def watch(stage: str, done: int, total: int) -> None:
        nonlocal loaded, committed
        if (stage, done, total) == _LOADED:
            loaded = time.process_time()
        elif stage == "index" and done == total:
            committed = time.process_time()

    one = built(source, folder, null_encoder(model), ExecutorConfig(partition_bytes=PARTITION_BYTES), watch)
    return one, committed - loaded


def _marginal(chunks: Sequence[int], seconds: Sequence[float]) -> float | None:
    """Seconds for a chunk more in the last step between sizes over those in the step before."""
    steps = [(after - before) / (many - few) for few, many, before, after in zip(chunks, chunks[1:], seconds, seconds[1:], strict=False)]
    return round(steps[-1] / steps[-2], PLACES) if len(steps) > 1 and steps[-2] > 0 else None


def _by_clock(one: Built) -> dict[str, float]:
    """Seconds of each stage, and of the index."""
    return {stage: float(found["worker_seconds"]) for stage, found in one.stages.items()} | {"index": one.report.seconds["index"]}


def endless(several: Sequence[Document]) -> Iterator[Document]:
    """The documents, then again and again, their words in another order each time: texts of the same lengths that are no duplicates."""
    yield from several
    for turn in count(1):
        draw = random.Random(turn)
        for document in several:
            parts = document.text.split(" ") if " " in document.text else list(document.text)
            draw.shuffle(parts)
            joined = (" " if " " in document.text else "").join(parts)
            yield replace(document, source=f"{document.source}, turn {turn}", text=joined)
