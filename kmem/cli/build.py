"""`kmem build`: documents → a bank."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table
from rich.text import Text

from kmem.cli.device import known_device
from kmem.cli.render import JSON_OPTION, counted, human_bytes, human_seconds, output, print_json, progress_bars, say
from kmem.cli.stopped import saying_how_to_go_on
from kmem.cli.usage import UsageError, naming_flags
from kmem.encoder.named import with_adapter
from kmem.kbuild.rules.config import RulesConfig
from kmem.options import read_options
from kmem.paths import is_bank_folder
from kmem.pipelines.config import BuildConfig, ExecutorConfig
from kmem.pipelines.options import options_of
from kmem.pipelines.stats import CHUNKS, DOCUMENTS, PROGRESS_UNITS

if TYPE_CHECKING:
    from kmem.pipelines.report import BuildReport

DEFAULT, RUNS = BuildConfig(), ExecutorConfig()
CHUNK = "chunk"
"""What a build that has anything to do takes time for."""
UNENCODED = "none yet: each when it is first read, or all by kmem encode"
TEXTS, WHERE = "Texts", "Where it runs"
_FLAGS = {
    "text_field": "read.text",
    "title_field": "read.title",
    "id_field": "read.id",
    "encoding": "read.encoding",
    "main_text": "read.main_text",
    "rules": "rules.preset",
    "language": "languages.keep",
    "quality": "quality.scorer",
    "min_quality": "quality.minimum",
    "max_tokens": "chunk.max_tokens",
    "overlap": "chunk.overlap_tokens",
    "title": "chunk.title",
    "workers": "executor.workers",
    "threads_per_worker": "executor.threads_per_worker",
    "scheduler": "executor.scheduler",
}
"""Parameters that are called otherwise in a configuration file."""
_BOTH = {"dedup": "mode", "dedup_threshold": "threshold"}
"""Those that are about documents and chunks alike."""
_HERE = ("adapter", "config", "print_config", "dry_run", "resume", "as_json", "rule")
"""Those that no file has."""


def build(
    context: typer.Context,
    sources: list[str] = typer.Argument(
        None, help="Files, folders, globs, URLs (text, Markdown, HTML, JSON lines, Parquet, dictd; packed or not), or corpus:NAME."
    ),
    out: str | None = typer.Option(None, help="Folder or URL of the new bank."),
    model: str = typer.Option(DEFAULT.model, help="smollm2, gemma3-270m, a model folder, or a hub name."),
    adapter: str | None = typer.Option(None, metavar="FOLDER", help="What kmem train memory wrote: the model writes with it."),
    profile: str = typer.Option(DEFAULT.profile, help="smollm2-720, memory3, uniform8, a profile's JSON file; auto goes by the model."),
    selector: str | None = typer.Option(DEFAULT.selector, help="Which tokens a head keeps; default: the profile's own."),
    quantiser: str = typer.Option(DEFAULT.quantiser, help="Payload: int8, fp16, bf16 or fp32; vq is trained on a bank: kmem convert."),
    embedder: str = typer.Option(
        DEFAULT.embedder, help="minilm, multilingual, bm25, hidden, hybrid, hybrid:NAME, null; or a sentence-transformers model."
    ),
    query_prefix: str | None = typer.Option(DEFAULT.query_prefix, help="What that model wants before a query; default: what it declares."),
    passage_prefix: str | None = typer.Option(DEFAULT.passage_prefix, help="What it wants before a text, as 'passage: ' for E5."),
    index: str = typer.Option(
        DEFAULT.index,
        help="Search index: auto (by rows), Flat, IVF1024,Flat, IVF1024,PQ48 (,RFlat ranks again), HNSW32; or such others.",
    ),
    target_recall: float = typer.Option(
        DEFAULT.target_recall, help="Share of the five nearest that a search of an index which isn't exact finds; more is slower."
    ),
    dtype: str = typer.Option(DEFAULT.dtype, help="Precision the model encodes in: auto (float32 with --no-encode), float32, bfloat16."),
    device: str = typer.Option(DEFAULT.device, help="cpu or cuda.", callback=known_device),
    limit: int | None = typer.Option(DEFAULT.limit, help="Chunks at most."),
    batch_size: int = typer.Option(DEFAULT.batch_size, help="Chunks a forward pass."),
    shard_rows: int | None = typer.Option(DEFAULT.shard_rows, help="Chunks a shard, the unit of resuming; default: 64 MiB of them."),
    encode: bool = typer.Option(DEFAULT.encode, "--encode/--no-encode", help="Encode now, or each memory when it is first read."),
    text_field: str = typer.Option(DEFAULT.read.text, rich_help_panel=TEXTS, help="Field or column that holds the text."),
    title_field: str | None = typer.Option(DEFAULT.read.title, rich_help_panel=TEXTS, help="That of the title; default: title, if there."),
    id_field: str | None = typer.Option(DEFAULT.read.id, rich_help_panel=TEXTS, help="That of an id; default: id in JSON lines, if there."),
    encoding: str = typer.Option(DEFAULT.read.encoding, rich_help_panel=TEXTS, help="What files without byte-order mark are in."),
    main_text: bool = typer.Option(
        DEFAULT.read.main_text, "--main-text/--whole-page", rich_help_panel=TEXTS, help="Of HTML, the main text or everything."
    ),
    rules: str = typer.Option(DEFAULT.rules.preset, rich_help_panel=TEXTS, help="Documents to drop: none, light (unreadable), web."),
    rule: list[str] = typer.Option([], rich_help_panel=TEXTS, help="A rule's limit, or switch: min-words=20, lorem-ipsum, no-lorem-ipsum."),
    language: list[str] = typer.Option([], rich_help_panel=TEXTS, help="Keep only documents in it, as en or zh; may be given again."),
    dedup: str = typer.Option(DEFAULT.dedup.mode, rich_help_panel=TEXTS, help="Drop copies, of documents, then chunks: near, exact, none."),
    dedup_threshold: float = typer.Option(
        DEFAULT.dedup.threshold,
        rich_help_panel=TEXTS,
        help=f"How alike near ones are, 0 to 1; under titles that differ {DEFAULT.dedup.retitled_threshold} at least "
        "(--config, dedup and dedup_chunks: retitled_threshold).",
    ),
    quality: str | None = typer.Option(DEFAULT.quality.scorer, rich_help_panel=TEXTS, help="Score documents: general, or a trained one."),
    min_quality: float = typer.Option(DEFAULT.quality.minimum, rich_help_panel=TEXTS, help="The score from which on one is kept."),
    max_tokens: int = typer.Option(DEFAULT.chunk.max_tokens, rich_help_panel=TEXTS, help="Tokens of a chunk at most."),
    overlap: int = typer.Option(DEFAULT.chunk.overlap_tokens, rich_help_panel=TEXTS, help="Tokens that a chunk may repeat of the last."),
    title: bool = typer.Option(DEFAULT.chunk.title, "--title/--no-title", rich_help_panel=TEXTS, help="Begin each chunk with the title."),
    workers: int | None = typer.Option(RUNS.workers, rich_help_panel=WHERE, help="Worker processes; default: this process, all threads."),
    threads_per_worker: int = typer.Option(RUNS.threads_per_worker, rich_help_panel=WHERE, help="Tasks at once in each of them."),
    scheduler: str | None = typer.Option(RUNS.scheduler, rich_help_panel=WHERE, help="Address of a Dask cluster: tcp://HOST:8786."),
    config: str | None = typer.Option(None, help="YAML file of options; what is given here goes before it."),
    print_config: bool = typer.Option(False, "--print-config", help="Print every option as YAML and stop."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Count, measure one batch, print bytes and time; write nothing."),
    resume: bool = typer.Option(False, "--resume", help="Go on with a build that was stopped."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Turn documents into a **bank** of explicit memories that the model can read while it generates."""
    with naming_flags(context, _FLAGS | {name: f"dedup.{option}" for name, option in _BOTH.items()}):
        _build(context, config, adapter, print_config=print_config, dry_run=dry_run, resume=resume, as_json=as_json)


def _build(
    context: typer.Context, config: str | None, adapter: str | None, *, print_config: bool, dry_run: bool, resume: bool, as_json: bool
) -> None:
    options = options_of(read_options(config) if config is not None else {}, _given(context))
    if adapter is not None:
        options = replace(options, build=replace(options.build, model=with_adapter(options.build.model, adapter)))
    if print_config:
        typer.echo(options.to_yaml(), nl=False)
        return
    if not options.sources or options.out is None:
        raise UsageError(f"Missing {'option --out' if options.sources else 'argument SOURCES'}; give it here or in --config.", context)
    from kmem.kbuild.sources import expand

    expand(options.sources)  # a misspelt path or a wrong option is told before torch is imported, which takes seconds
    from kmem.pipelines.build import build as run

    out = options.out
    bars = progress_bars(quiet=as_json, lines=True, units=PROGRESS_UNITS, otherwise=CHUNKS)
    with saying_how_to_go_on(lambda: kept_shards(out), option="--resume"), bars as progress:
        report = run(
            options.sources,
            out=out,
            config=options.build,
            executor=options.executor,
            resume=resume,
            dry_run=dry_run,
            progress=progress,
            tell=say,
        )
    if as_json:
        print_json(report.to_dict())
    else:
        done = "Would build" if dry_run else "Built" if CHUNK in report.seconds else "Nothing left to do, finished before:"
        output().print(summary(report, done))


def _given(context: typer.Context) -> dict[str, Any]:
    """What stands on the command line, as `options_of` takes it."""
    given: dict[str, Any] = {}
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name in _HERE:
            continue
        if name in _BOTH:
            given |= {f"{section}.{_BOTH[name]}": value for section in ("dedup", "dedup_chunks")}
        else:
            given[_FLAGS.get(name, name)] = list(value) if isinstance(value, tuple | list) else value
    changes = RulesConfig.parse(options=context.params["rule"]).changes
    return given | {f"rules.{name}": limit for name, limit in changes.items()}


def kept_shards(out: str) -> str | None:
    """What a stopped build leaves, for whoever says how to go on."""
    return f"finished shards are kept in {out}" if "://" in out or is_bank_folder(Path(out)) else None


def summary(report: "BuildReport", done: str) -> Table:
    """One screen: what was done to the bank, what came in, what of it was lost and why, what was kept, bytes and time."""
    table = Table(title=Text(f"{done} {report.bank}"), show_header=False, title_justify="left")
    told = set[str]()
    for kind, flow in sorted(report.flow.items(), key=lambda named: named[0] != DOCUMENTS):
        table.add_row(f"{kind} in", f"{flow['in']:,}")
        for reason, count in flow["lost"].items():
            table.add_row(Text(f"  {reason}"), f"{count:,}")
        kept = f"{flow['kept']:,}" if kind != CHUNKS else f"{flow['kept']:,} ({counted(report.tokens, 'token')})"
        table.add_row(f"{kind} kept", kept)
        told |= flow["lost"].keys()
    for reason, count in sorted(report.counts.items()):
        if count and reason not in told:
            table.add_row(Text(reason), f"{count:,}")
    if report.chunks:
        _add_payload(table, report)
    named = {} if report.encode else {"encode": "write texts"}
    times = ", ".join(f"{named.get(stage, stage)} {human_seconds(seconds)}" for stage, seconds in report.seconds.items())
    table.add_row("time (estimated)" if report.dry_run else "time", times)
    return table


def _add_payload(table: Table, report: "BuildReport") -> None:
    table.add_row("profile", report.profile)
    table.add_row("a memory", f"{report.slots} slots, {human_bytes(report.record_bytes)}")
    reused = f", {report.shards_reused} of them from before" if report.shards_reused else ""
    table.add_row(
        "payload" if report.encode else "payload, once encoded",
        f"{human_bytes(report.payload_bytes)} in {counted(report.shards, 'shard')}{reused}",
    )
    if not report.encode:
        table.add_row("encoded", UNENCODED)
