"""The application: commands, and the one place where an error becomes a sentence and an exit code."""

import sys

import typer

from kmem import __version__
from kmem.cli import bench, build, demo, generate, info, query, show
from kmem.cli.quiet import hush
from kmem.errors import KmemError

app = typer.Typer(
    name="kmem",
    help="Explicit memory for language models: build a bank from documents, and let a model read it while it generates.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("build")(build.build)
app.command("info")(info.info)
app.command("query")(query.query)
app.command("show")(show.show)
app.command("generate")(generate.generate)
app.command("demo")(demo.demo)
app.add_typer(bench.app, name="bench")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kmem {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version and exit."),
) -> None:
    """Runs before every command."""


def main() -> None:
    """Entry point: exit code 0 done, 2 bad input with one sentence on standard error; Typer answers for usage and interrupts."""
    hush()
    try:
        app()
    except (KmemError, OSError) as error:
        typer.echo(f"kmem: {error}", err=True)
        sys.exit(2)
