"""The application: commands, and the one place where an error becomes a sentence and an exit code."""

import errno
import os
import sys

import typer

from kmem import __version__
from kmem.cli import (
    append,
    bench,
    build,
    calibrate,
    compact,
    convert,
    delete,
    demo,
    encode,
    evolve,
    generate,
    info,
    merge,
    plan,
    quality,
    query,
    show,
    status,
    train,
    verify,
)
from kmem.cli.quiet import hush
from kmem.cli.stopped import INTERRUPTED
from kmem.cli.usage import UsageError, explain
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
app.command("status")(status.status)
app.command("generate")(generate.generate)
app.command("append")(append.append)
app.command("encode")(encode.encode)
app.command("delete")(delete.delete)
app.command("compact")(compact.compact)
app.command("merge")(merge.merge)
app.command("convert")(convert.convert)
app.command("verify")(verify.verify)
app.command("calibrate")(calibrate.calibrate)
app.command("evolve")(evolve.evolve)
app.command("plan")(plan.plan)
app.command("demo")(demo.demo)
app.add_typer(quality.app, name="quality")
app.add_typer(train.app, name="train")
app.add_typer(bench.app, name="bench")

BAD_INPUT = 2


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
    """Entry point: exit code 0 done, 2 bad input with one sentence on standard error, 130 interrupted (`__main__` says so)."""
    hush()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal that lacks a character shows `?`
    try:
        code = app(prog_name="kmem", standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
    except BrokenPipeError:  # whoever reads our output has had enough, as in `kmem query … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except UsageError as error:
        _refuse(explain(error))
    except KmemError as error:
        _refuse(str(error))
    except MemoryError:
        _refuse("this process ran out of memory: close others, or run it where there is more.")
    except OSError as error:
        _refuse(_unusable(error))


def _unusable(error: OSError) -> str:
    """What an operating system refused, and what to do about it."""
    reason = f"({error.strerror or error})"
    if error.errno == errno.EROFS:
        return f"{error.filename or 'the output'} can't be written {reason}: its file system is mounted read-only; choose another place."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename or 'the output'} can't be written {reason}: make room, or choose another place."
    what = f"{error.filename} can't be read or written" if error.filename else "the output can't be written"
    return f"{what} {reason}: check path, permissions and free space."


def _refuse(sentence: str) -> None:
    if sentence:
        typer.echo(f"kmem: {sentence}", err=True)
    sys.exit(BAD_INPUT)
