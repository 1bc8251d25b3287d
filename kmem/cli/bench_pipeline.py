"""`kmem bench pipeline`: what the stages of a build find, and what they cost."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer
from rich.table import Table

from kmem.bench.pipeline.config import PipelineConfig
from kmem.cli.bench_json import JSON_FILE, STANDARD_OUTPUT, require_outputs, write_json
from kmem.cli.render import output, progress_bars
from kmem.cli.usage import naming_flags
from kmem.encoder.defaults import SMOLLM2

DEFAULT = PipelineConfig()


def pipeline(
    context: typer.Context,
    model: str = typer.Option(SMOLLM2, help="Whose tokens chunks are counted in, and what encodes them."),
    corpus: list[str] = typer.Option(list(DEFAULT.corpora), help="Where documents come from; may be given several times."),
    documents: int = typer.Option(DEFAULT.documents, help="Documents among which copies are planted."),
    planted: int = typer.Option(DEFAULT.planted, help="Copies of each kind among them: exact, edited, reordered."),
    megabytes: int = typer.Option(DEFAULT.megabytes, help="Text that each stage is timed on."),
    chunks: list[int] = typer.Option(list(DEFAULT.chunks), help="A size to measure the cost of a chunk at; give two or more, ascending."),
    rounds: int = typer.Option(DEFAULT.rounds, help="Times that each stage is timed, and built by one worker process and by two."),
    encoded: int = typer.Option(DEFAULT.encoded, help="Chunks that those builds encode; 0 starts no workers."),
    json_file: str | None = JSON_FILE,
    picture: str | None = typer.Option(None, metavar="PNG", help="Draw rates, workers, the cost of a chunk, and copies found."),
) -> None:
    """Are copies found among real documents, how fast is each stage on a core, does a chunk cost the same in a large corpus, and are two
    worker processes twice as fast as one?
    """
    require_outputs(json_file, picture)
    with naming_flags(context, {"corpus": "corpora"}):
        config = PipelineConfig(
            corpora=tuple(corpus),
            documents=documents,
            planted=planted,
            megabytes=megabytes,
            chunks=tuple(chunks),
            rounds=rounds,
            encoded=encoded,
        )
    from kmem.bench.pipeline.measure import measure_pipeline
    from kmem.encoder.load import load_tokenizer

    tokenizer = load_tokenizer(model)
    with TemporaryDirectory(prefix="kmem-bench-") as folder, progress_bars(quiet=json_file == STANDARD_OUTPUT) as progress:
        figures = measure_pipeline(config, model, tokenizer, Path(folder), progress=progress)
    if picture is not None:
        from kmem.bench.pipeline.picture import draw_pipeline

        draw_pipeline(figures, Path(picture))
    if not write_json("pipeline", figures, json_file):
        output().print(figures_table(figures))
        output().print(stages_table(figures))
        if config.encoded:
            output().print(workers_table(figures))


def figures_table(figures: dict[str, Any]) -> Table:
    """What the issue asks for, measured."""
    used = figures["settings"]
    table = Table("figure", "measured", "asked", title=f"{used['planted']:,} copies among {used['documents']:,} documents")
    for names, sign in (("asked", "at least"), ("asked_at_most", "at most")):
        for name, limit in figures[names].items():
            table.add_row(name, f"{figures[name]:.3f}", f"{sign} {limit:g}")
    if (marginal := figures["marginal_growth"]) is not None:
        table.add_row("marginal_growth", f"{marginal:.3f}", "")
    for kind, recall in figures["recall"].items():
        table.add_row(f"recall: {kind}", f"{recall:.3f}", "")
    return table


def stages_table(figures: dict[str, Any]) -> Table:
    """A row a stage, then a row a size."""
    table = Table("stage", "on one core", title=f"{figures['sample_mb']:.1f} MB of text")
    for name, rate in figures["mb_per_s_core"].items():
        table.add_row(name, f"{rate:.1f} MB/s")
    for size, cost in figures["ms_per_chunk"].items():
        table.add_row(f"a chunk, of {int(size):,}", f"{cost:.2f} ms")
    return table


def workers_table(figures: dict[str, Any]) -> Table:
    """A row a stage of a build by one worker process and by two."""
    one, two = (figures["stages_by_workers"][workers] for workers in ("1", "2"))
    table = Table("stage", "one worker", "two", "over one", title=f"builds by worker processes, {figures['workers']['profile']}")
    for name, rate in one.items():
        table.add_row(name, f"{rate:,.1f}", f"{two[name]:,.1f}", f"{two[name] / rate:.2f}")
    return table
