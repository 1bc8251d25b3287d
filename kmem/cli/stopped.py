"""What Ctrl-C leaves behind, and the command that goes on."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

INTERRUPTED = 130


@contextmanager
def saying_how_to_go_on(kept: Callable[[], str | None], *, option: str = "") -> Iterator[None]:
    """On Ctrl-C, say what is kept and print the command, with `option`, that goes on; exit code 130.

    `kept` is asked then: a phrase, empty where none is needed, or None when nothing was written yet.
    """
    try:
        yield
    except KeyboardInterrupt:
        phrase = kept()
        command = shlex.join(["kmem", *sys.argv[1:], *([option] if option and option not in sys.argv else [])])
        rest = "nothing was written yet." if phrase is None else "; ".join(filter(None, (phrase, f"go on with: {command}")))
        typer.echo(f"kmem: stopped; {rest}", err=True)
        raise SystemExit(INTERRUPTED) from None
