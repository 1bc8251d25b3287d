"""How commands speak: JSON for programs, Rich for people, progress on the terminal."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kmem.progress import Progress as Report

JSON_OPTION = typer.Option(False, "--json", help="Print one JSON object instead of text.")
UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
PIPE_COLUMNS = 160
LINE_EVERY_S = 10.0


def output() -> Console:
    """Standard output; as wide as the terminal or $COLUMNS, and wide where it is a pipe."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_COLUMNS, highlight=False)


def print_json(data: Any) -> None:
    """One JSON document on standard output. Ids have 63 bits, more than a JSON number keeps in most readers, so they are strings."""
    typer.echo(json.dumps(_with_string_ids(data), ensure_ascii=False, indent=2, default=str))


def _with_string_ids(data: Any) -> Any:
    if isinstance(data, dict):
        return {
            key: str(value) if (key == "id" or key.endswith("_id")) and isinstance(value, int) else _with_string_ids(value)
            for key, value in data.items()
        }
    return [_with_string_ids(entry) for entry in data] if isinstance(data, list | tuple) else data


def printable(text: str) -> str:
    """The text with control characters, which can move the cursor or hide what follows, replaced; line ends and tabs stay."""
    return "".join("\ufffd" if _controls(character) else character for character in text)


def _controls(character: str) -> bool:
    return (character < " " and character not in "\n\t") or "\x7f" <= character < "\xa0"


def counted(count: int, noun: str) -> str:
    """(1, "token") → '1 token'; (2000, "token") → '2,000 tokens'."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def human_bytes(count: float) -> str:
    """184320 → '180.0 KiB'."""
    for unit in UNITS:
        if count < 1024 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def human_seconds(seconds: float) -> str:
    """95.2 → '95 s', 150 → '2 min'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:,.1f} h"


@contextmanager
def working(what: str, *, quiet: bool) -> Iterator[None]:
    """A spinner on standard error, saying what takes its time; nothing when quiet or not on a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield
        return
    with console.status(f"{what} …"):
        yield


def say(sentence: str) -> None:
    """On standard error, beside whatever bars there are."""
    typer.echo(f"kmem: {sentence}", err=True)


def progress_lines(units: Mapping[str, str] | None = None, otherwise: str | None = None) -> Report:
    """A JSON object a line on standard error, at most every LINE_EVERY_S seconds: short work says nothing.

    units: what the stages count, `otherwise` for those that are not among them.
    """
    last = time.monotonic()
    began: dict[str, tuple[float, int]] = {}

    def report(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        start, first = began.setdefault(stage, (now, done))
        if now - last >= LINE_EVERY_S:
            last = now
            rate = (done - first) / (now - start) if now > start else 0.0
            left = round((total - done) / rate) if rate and total else None
            line = {"stage": stage, "done": done, "total": total or None, "per_s": round(rate, 2), "left_s": left}
            if unit := (units or {}).get(stage, otherwise):
                line["unit"] = unit
            typer.echo(json.dumps(line), err=True)

    return report


@contextmanager
def progress_bars(
    *, quiet: bool, lines: bool = False, units: Mapping[str, str] | None = None, otherwise: str | None = None
) -> Iterator[Report]:
    """A bar a stage with rate and time left, on standard error; not on a terminal nothing, or `lines` of JSON; nothing when quiet.

    units, otherwise: as in `progress_lines`.
    """
    console = Console(stderr=True)
    if lines and not quiet and not console.is_terminal:
        yield progress_lines(units, otherwise)
        return
    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description:>7}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("gone,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total or None, rate="")
            task = bars.tasks[tasks[stage]]
            unit = (units or {}).get(stage, otherwise) or ""
            rate = f"{unit}, {task.speed:.1f}/s".removeprefix(", ") if task.speed else unit
            bars.update(tasks[stage], completed=done, total=total or None, rate=rate)

        yield report
