"""`kmem append`: more documents for a bank."""

import typer

from kmem.cli.build import summary
from kmem.cli.device import known_device
from kmem.cli.render import JSON_OPTION, output, print_json, progress_bars
from kmem.cli.stopped import saying_how_to_go_on
from kmem.cli.usage import naming_flags
from kmem.pipelines.config import AppendConfig
from kmem.pipelines.report import BACK

DEFAULT = AppendConfig()


def append(
    context: typer.Context,
    bank: str = typer.Argument(help="Folder or URL of the bank."),
    sources: list[str] = typer.Argument(help="Documents, as kmem build takes them."),
    model: str | None = typer.Option(DEFAULT.model, help="Where the bank's model is now; default: where it was."),
    device: str = typer.Option(DEFAULT.device, help="cpu or cuda.", callback=known_device),
    limit: int | None = typer.Option(DEFAULT.limit, help="Chunks at most."),
    batch_size: int = typer.Option(DEFAULT.batch_size, help="Chunks a forward pass."),
    encode: bool = typer.Option(DEFAULT.encode, "--encode/--no-encode", help="Encode now, or each memory when it is first read."),
    compare: bool | None = typer.Option(
        DEFAULT.compare,
        "--compare/--no-compare",
        help="Drop chunks that copy stored ones as the bank's build drops copies, all of which are read for it (of an edited copy what "
        "changed comes in alone: delete the old one first); default: up to 2 million memories.",
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Count, measure one batch, print bytes and time; write nothing."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Add documents to a bank. What it holds already is passed over; a stopped append goes on when it is repeated."""
    with naming_flags(context):
        config = AppendConfig(model=model, device=device, limit=limit, batch_size=batch_size, encode=encode, compare=compare)
    from kmem.kbuild.sources import expand
    from kmem.kstore.bank import open_bank

    open_bank(bank).close()
    expand(sources)  # all are told before torch is imported, which takes seconds
    from kmem.pipelines.append import append as run

    with saying_how_to_go_on(lambda: f"{bank} is as it was", option=""), progress_bars(quiet=as_json) as progress:
        report = run(bank, sources, config=config, dry_run=dry_run, progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        done = "Would append to" if dry_run else "Appended to" if any((report.chunks, report.counts[BACK])) else "Nothing new for"
        output().print(summary(report, done))
