"""What Ctrl-C, or whoever ends the process, leaves behind, and the command that goes on."""

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

INTERRUPTED, TERMINATED = 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM, as systemd, docker stop and timeout send it: the same as Ctrl-C to whoever cleans up."""


@contextmanager
def saying_how_to_go_on(kept: Callable[[], str | None], *, option: str = "") -> Iterator[None]:
    """On Ctrl-C or SIGTERM, say what is kept and print the command, with `option`, that goes on; exit code 130 or 143.

    `kept` is asked then: a phrase, empty where none is needed, or None when nothing was written yet.
    """
    try:
        with _heeding_termination():
            yield
    except KeyboardInterrupt as stopped:
        phrase = kept()
        command = shlex.join(["kmem", *sys.argv[1:], *([option] if option and option not in sys.argv else [])])
        rest = "nothing was written yet." if phrase is None else "; ".join(filter(None, (phrase, f"go on with: {command}")))
        typer.echo(f"kmem: stopped; {rest}", err=True)
        raise SystemExit(TERMINATED if isinstance(stopped, Terminated) else INTERRUPTED) from None


@contextmanager
def _heeding_termination() -> Iterator[None]:
    """SIGTERM raises Terminated; only the main thread can ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
