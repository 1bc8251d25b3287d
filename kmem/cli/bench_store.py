"""`kmem bench store`: reading and writing a bank against a plain file and the other readers of Zarr."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer
from rich.table import Table

from kmem.arguments import path_of
from kmem.bench.store.config import StoreConfig
from kmem.cli.bench_json import JSON_FILE, STANDARD_OUTPUT, require_folder, write_json
from kmem.cli.render import human_bytes, output, progress_bars
from kmem.errors import ConfigError

DEFAULT = StoreConfig()
KINDS = {
    "read5": "5 memories, in memory",
    "read160": "160 memories, in memory",
    "read8": "4 × 160 memories, by every process at once",
    "read5_cold": "5 memories, from the device",
    "read160_cold": "160 memories, from the device",
}


def store(
    memories: int = typer.Option(DEFAULT.memories, help="Memories of 90 KiB to write and to read from; at least 160."),
    rounds: int = typer.Option(DEFAULT.rounds, help="Turns of each reader at five memories; a tenth as many at 160."),
    full: bool = typer.Option(False, "--full", help="Open a bank of a million tiny memories, too."),
    keep: str | None = typer.Option(None, metavar="DIR", help="Write here, a new or empty folder, and leave it; else a temporary one."),
    json_file: str | None = JSON_FILE,
) -> None:
    """How fast are memories read and written, against numpy's memmap, tensorstore, zarr-python and zarrs on the same bytes?

    And how many requests does a bank in S3 cost?
    """
    from kmem.bench.store.measure import measure_store

    require_folder("--json", json_file)
    config = StoreConfig(memories=memories, rounds=rounds, full=full)
    with _folder(keep) as folder, progress_bars(quiet=json_file == STANDARD_OUTPUT) as progress:
        figures = measure_store(config, folder, progress=progress)
    if write_json("store", figures, json_file):
        return
    title = f"{memories:,} memories of {human_bytes(figures['record_bytes'])}"
    for key, kind in KINDS.items():
        if figures[key]:
            output().print(times_table(figures[key], title=f"{title}: {kind}"))
    output().print(ratios_table(figures))
    for name in figures["missing"]:
        output().print(f"{name} is not installed and was left out; pip install 'kmem[bench]' brings it.")


def times_table(sides: dict[str, dict[str, float]], *, title: str) -> Table:
    """A row a reader, and how its median compares with kmem's."""
    table = Table("reader", "p50", "p99", "GB/s", "p50 / kmem's", title=title)
    for name, figures in sides.items():
        ratio = figures["p50_ms"] / sides["kmem"]["p50_ms"]
        table.add_row(name, f"{figures['p50_ms']:.3f} ms", f"{figures['p99_ms']:.3f} ms", f"{figures['gb_per_s']:.2f}", f"{ratio:.2f}")
    return table


def ratios_table(figures: dict[str, Any]) -> Table:
    """Every single number of the result."""
    table = Table("figure", "value", title="what it comes to")
    for key, value in figures.items():
        if isinstance(value, float):
            table.add_row(key, f"{value:.3f}")
        elif key.startswith("s3."):
            table.add_row(key, f"{value:,}")
    return table


@contextmanager
def _folder(keep: str | None) -> Iterator[Path]:
    """The folder to work in. Raises ConfigError for one that holds anything."""
    if keep is None:
        with TemporaryDirectory(prefix="kmem-bench-") as temporary:
            yield Path(temporary)
        return
    folder = path_of(keep, "--keep")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--keep {folder} is not an empty folder: name a new one.")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
