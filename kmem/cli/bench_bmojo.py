"""`kmem bench bmojo`: what a token costs a B'MOJO model, and what a training step costs."""

from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from kmem.bench.bmojo.config import BMojoBenchConfig
from kmem.cli.bench_json import JSON_FILE, STANDARD_OUTPUT, require_folder, write_json
from kmem.cli.device import known_device
from kmem.cli.render import human_bytes, output, progress_bars
from kmem.encoder.defaults import DEVICE
from kmem.figures import require_png

DEFAULT = BMojoBenchConfig()


def bmojo(
    lengths: list[int] = typer.Option(list(DEFAULT.lengths), help="Tokens of a text that is read; give two or more, ascending."),
    piece: int = typer.Option(DEFAULT.piece, help="Tokens that bmojo reads at a time."),
    train_tokens: int = typer.Option(DEFAULT.train_tokens, help="Tokens of a row of the training batch."),
    rounds: int = typer.Option(DEFAULT.rounds, help="Times that everything is timed."),
    device: str = typer.Option(DEVICE, help="cpu or cuda.", callback=known_device),
    json_file: str | None = JSON_FILE,
    picture: str | None = typer.Option(None, metavar="PNG", help="Draw time and memory against length."),
) -> None:
    """Does a token cost the same after 32,000 others? Time and memory of **bmojo** and **transformer**; a training step beside **hybrid**.

    All models have equal parameters, and random weights, which don't matter to the time.
    """
    require_folder("--json", json_file)
    require_folder("--picture", picture)
    if picture is not None:
        require_png(Path(picture))
    config = BMojoBenchConfig(lengths=tuple(lengths), piece=piece, train_tokens=train_tokens, rounds=rounds)
    from kmem.bench.bmojo.measure import measure_bmojo

    with progress_bars(quiet=json_file == STANDARD_OUTPUT) as progress:
        figures = measure_bmojo(config, device=device, progress=progress)
    if picture is not None:
        from kmem.bench.bmojo.picture import draw_cost

        draw_cost(figures, Path(picture))
    if not write_json("bmojo", figures, json_file):
        output().print(figures_table(figures))
        output().print(lengths_table(figures))


def figures_table(figures: dict[str, Any]) -> Table:
    """What the issue asks for, measured."""
    table = Table("figure", "measured", "asked", title=f"{figures['models']['bmojo']['parameters']:,} parameters each")
    for names, sign in (("asked", "at least"), ("asked_at_most", "at most")):
        for name, limit in figures[names].items():
            table.add_row(name, f"{figures[name]:.3f}" if name in figures else "not measured", f"{sign} {limit:g}")
    known = {*figures["asked"], *figures["asked_at_most"], "over_transformer"}
    for name in (name for name in figures if "over_" in name and name not in known):
        table.add_row(name, f"{figures[name]:.3f}", "")
    return table


def lengths_table(figures: dict[str, Any]) -> Table:
    """A row a length."""
    columns = [f"{name}: {what}" for name in figures["us_per_token"] for what in ("µs a token", "held", "at most")]
    table = Table("tokens", *columns, "transformer over bmojo", title=f"bmojo reads {figures['settings']['piece']:,} tokens at a time")
    for length in figures["us_per_token"]["bmojo"]:
        cells = []
        for name, costs in figures["us_per_token"].items():
            if length not in costs:
                cells += [""] * 3
                continue
            sizes = (human_bytes(figures[key][name][length]) for key in ("state_bytes", "peak_bytes"))
            cells += [f"{costs[length]:.1f}", *sizes]
        over = figures["over_transformer"]
        table.add_row(f"{int(length):,}", *cells, f"{over[length]:.2f}" if length in over else "")
    return table
