"""`kmem build`: documents → a bank."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from kmem.cli.device import known_device
from kmem.cli.render import JSON_OPTION, counted, human_bytes, human_seconds, output, print_json, progress_bars
from kmem.cli.stopped import saying_how_to_go_on
from kmem.paths import is_bank_folder
from kmem.pipelines.config import BuildConfig

if TYPE_CHECKING:
    from kmem.pipelines.report import BuildReport

DEFAULT = BuildConfig()


def build(
    sources: list[str] = typer.Argument(
        help="Files, folders, globs (.txt .md .html .jsonl .parquet, dictd .index), or corpus:NAME (vital-articles, foldoc, chinese-law)."
    ),
    out: str = typer.Option(..., help="Folder or URL of the new bank."),
    model: str = typer.Option(DEFAULT.model, help="smollm2, gemma3-270m, a model folder, or a hub name."),
    profile: str = typer.Option(DEFAULT.profile, help="smollm2-720, memory3, uniform8, a profile's JSON file; auto goes by the model."),
    selector: str | None = typer.Option(DEFAULT.selector, help="Which tokens a head keeps; default: the profile's own."),
    quantiser: str = typer.Option(DEFAULT.quantiser, help="Payload: fp16, bf16, fp32 or int8."),
    embedder: str = typer.Option(
        DEFAULT.embedder, help="minilm, multilingual, bm25, hidden, hybrid, hybrid:NAME; or a sentence-transformers model."
    ),
    query_prefix: str | None = typer.Option(DEFAULT.query_prefix, help="What that model wants before a query; default: what it declares."),
    passage_prefix: str | None = typer.Option(DEFAULT.passage_prefix, help="What it wants before a text, as 'passage: ' for E5."),
    index: str = typer.Option(
        DEFAULT.index, help="Search index: auto (by rows), Flat, IVF1024,Flat, IVF1024,PQ48 (,RFlat ranks again), HNSW32; any numbers."
    ),
    dtype: str = typer.Option(DEFAULT.dtype, help="Precision the model encodes in: auto (float32 with --no-encode), float32, bfloat16."),
    device: str = typer.Option(DEFAULT.device, help="cpu or cuda.", callback=known_device),
    limit: int | None = typer.Option(DEFAULT.limit, help="Chunks at most."),
    batch_size: int = typer.Option(DEFAULT.batch_size, help="Chunks a forward pass."),
    shard_rows: int | None = typer.Option(DEFAULT.shard_rows, help="Chunks a shard, the unit of resuming; default: 64 MiB of them."),
    encode: bool = typer.Option(DEFAULT.encode, "--encode/--no-encode", help="Encode now, or each memory when it is first read."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Count, measure one batch, print bytes and time; write nothing."),
    resume: bool = typer.Option(False, "--resume", help="Go on with a build that was stopped."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Turn documents into a **bank** of explicit memories that the model can read while it generates."""
    from kmem.kbuild.sources import expand

    expand(sources)  # a misspelt path or a wrong option is told before torch is imported, which takes seconds
    config = BuildConfig(
        model=model,
        profile=profile,
        selector=selector,
        quantiser=quantiser,
        embedder=embedder,
        query_prefix=query_prefix,
        passage_prefix=passage_prefix,
        index=index,
        dtype=dtype,
        device=device,
        limit=limit,
        batch_size=batch_size,
        shard_rows=shard_rows,
        encode=encode,
    )
    from kmem.pipelines.build import build as run

    with saying_how_to_go_on(lambda: kept_shards(out), option="--resume"), progress_bars(quiet=as_json) as progress:
        report = run(sources, out=out, config=config, resume=resume, dry_run=dry_run, progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        output().print(summary(report, "Would build" if dry_run else "Built"))


def kept_shards(out: str) -> str | None:
    """What a stopped build leaves, for whoever says how to go on."""
    return f"finished shards are kept in {out}" if "://" in out or is_bank_folder(Path(out)) else None


def summary(report: "BuildReport", done: str) -> Table:
    """One screen: what was done to the bank, what came in, what was kept, bytes and time."""
    table = Table(title=Text(f"{done} {report.bank}"), show_header=False, title_justify="left")
    for reason, count in sorted(report.counts.items()):
        if count:
            table.add_row(reason, f"{count:,}")
    table.add_row("chunks", f"{report.chunks:,} ({counted(report.tokens, 'token')})")
    table.add_row("profile", report.profile)
    table.add_row("a memory", f"{report.slots} slots, {human_bytes(report.record_bytes)}")
    reused = f", {report.shards_reused} of them from before" if report.shards_reused else ""
    table.add_row(
        "payload" if report.encode else "payload, once encoded",
        f"{human_bytes(report.payload_bytes)} in {counted(report.shards, 'shard')}{reused}",
    )
    if not report.encode:
        table.add_row("encoded", "none yet: each when it is first read, or all by kmem encode")
    times = ", ".join(f"{stage} {human_seconds(seconds)}" for stage, seconds in report.seconds.items())
    table.add_row("time (estimated)" if report.dry_run else "time", times)
    return table
