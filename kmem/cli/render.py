"""How commands speak: JSON for programs, Rich for people, progress on the terminal."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kmem.pipelines.progress import Progress as Report

JSON_OPTION = typer.Option(False, "--json", help="Print one JSON object instead of text.")
UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(data, ensure_ascii=False, indent=2, default=str))


def human_bytes(count: float) -> str:
    """184320 → '180.0 KiB'."""
    for unit in UNITS:
        if count < 1024 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def human_seconds(seconds: float) -> str:
    """95.2 → '1 min 35 s'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


@contextmanager
def progress_bars(*, quiet: bool) -> Iterator[Report]:
    """A bar a stage with rate and time left, on standard error; nothing when quiet or not on a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:>7}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total or None, rate="")
            task = bars.tasks[tasks[stage]]
            rate = f"{task.speed:.1f}/s" if task.speed else ""
            bars.update(tasks[stage], completed=done, total=total or None, rate=rate)

        yield report
