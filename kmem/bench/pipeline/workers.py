"""What a second worker process is worth, stage by stage, in real builds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from kmem.bench.pipeline.builds import Built, built, null_encoder
from kmem.bench.pipeline.config import PipelineConfig
from kmem.bench.pipeline.texts import first, megabytes, write_lines
from kmem.document import Document
from kmem.errors import MeasurementError
from kmem.pipelines.config import BuildConfig, ExecutorConfig
from kmem.progress import Progress

WORKERS = 1, 2
PARTITIONS = 8
SHARD_ROWS = 16
"""Of the builds here, so that both workers have the same to do and wait for each other at the end for little."""
PLACES = 3
_TEXT, _MODELS = ("read", "deduplicate", "chunk", "deduplicate-chunks"), ("encode", "embed")


def measure_workers(
    several: Sequence[Document], density: float, model: str, config: PipelineConfig, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Builds with one worker process and with two (`kmem build --workers`, one thread each), in turns, `config.rounds` times.

    `encode_two_over_one`: chunks that two workers encode a second over those that one does, the median of that ratio in each round.
    A stage is timed from the beginning of its first task to the end of the last one, as the tasks themselves note them: starting processes
    and loading models, which come before the first, take no part. `stages_by_workers`: what each stage took in a second, medians.
    Encoding and embedding are of about `config.encoded` chunks; the other stages of `config.megabytes` of text, built with the null
    encoder. density: chunks in a megabyte. Raises MeasurementError where one worker and two write other banks.
    """
    short = first(several, config.encoded / density)
    long = first(several, config.megabytes)
    sources = {"short": write_lines(short, folder / "short.jsonl"), "long": write_lines(long, folder / "long.jsonl")}
    configs = {"short": BuildConfig(model=model, shard_rows=SHARD_ROWS), "long": null_encoder(model)}
    size_bytes = {name: Path(source).stat().st_size for name, source in sources.items()}
    runs: dict[str, dict[int, list[Built]]] = {name: {workers: [] for workers in WORKERS} for name in sources}
    done, total = 0, config.rounds * len(WORKERS)
    progress("workers", done, total)
    for turn in range(config.rounds):
        for workers in WORKERS if turn % 2 == 0 else WORKERS[::-1]:
            for name, source in sources.items():
                executor = ExecutorConfig(workers=workers, partition_bytes=-(-size_bytes[name] // PARTITIONS))
                runs[name][workers].append(built(source, folder, configs[name], executor))
            done += 1
            progress("workers", done, total)
    for of_size in runs.values():
        require_same(of_size)
    by_workers = {workers: {name: of_size[workers] for name, of_size in runs.items()} for workers in WORKERS}
    rates = {workers: [_rate(one, "encode") for one in runs["short"][workers]] for workers in WORKERS}
    return {
        "encode_two_over_one": _rounded([two / one for one, two in zip(rates[1], rates[2], strict=True)]),
        "stages_by_workers": {
            str(workers): {
                **_rates(own["long"], _TEXT),
                **_rates(own["short"], _MODELS),
                **{f"{stage}, MB/s": _rounded([megabytes(long) / _wall(one, stage) for one in own["long"]]) for stage in ("read", "chunk")},
            }
            for workers, own in by_workers.items()
        },
        "workers": {
            "encode_chunks_per_s": {str(workers): [round(rate, PLACES) for rate in own] for workers, own in rates.items()},
            "encoded_chunks": runs["short"][1][0].report.chunks,
            "profile": runs["short"][1][0].report.profile,
            "cut_chunks": runs["long"][1][0].report.chunks,
            "shard_rows": SHARD_ROWS,
            "partitions": PARTITIONS,
        },
    }


def require_same(runs: Mapping[int, Sequence[Built]]) -> None:
    """Raise MeasurementError unless all wrote the same texts and memories."""
    if len({one.digests for own in runs.values() for one in own}) > 1:
        raise MeasurementError("Builds of the same text with one worker and with two wrote different banks; please report it.")


def _rate(one: Built, stage: str) -> float:
    """What a stage took in a second."""
    return float(one.stages[stage]["in"]) / _wall(one, stage)


def _wall(one: Built, stage: str) -> float:
    """Seconds, which are noted to the thousandth."""
    return max(1e-3, float(one.stages[stage]["wall_seconds"]))


def _rates(runs: Sequence[Built], stages: Sequence[str]) -> dict[str, float]:
    return {f"{stage}, {runs[0].stages[stage]['unit']}/s": _rounded([_rate(one, stage) for one in runs]) for stage in stages}


def _rounded(values: Sequence[float]) -> float:
    return round(median(values), PLACES)
