"""`kmem bench encode`: how fast chunks become memories."""

from typing import Any

import typer
from rich.table import Table

from kmem.bench.encode.config import EncodeConfig
from kmem.cli.bench_json import JSON_FILE, STANDARD_OUTPUT, require_folder, write_json
from kmem.cli.device import known_device
from kmem.cli.render import human_bytes, output, progress_bars
from kmem.encoder.defaults import AUTO, DEVICE, SMOLLM2
from kmem.encoder.presets import usual_profile

DEFAULT = EncodeConfig()


def encode(
    model: str = typer.Option(SMOLLM2, help="smollm2, gemma3-270m, preset:memory3-2b, a model folder, or a hub name."),
    corpus: str = typer.Option(DEFAULT.corpus, help="Whose chunks to encode: a file, folder, glob or corpus:NAME."),
    chunks: int = typer.Option(DEFAULT.chunks, help="The first so many of them."),
    profile: str = typer.Option(DEFAULT.profile, help="Budgets of the memories: auto, a shipped name or a profile's JSON file."),
    batch_size: int = typer.Option(DEFAULT.batch_size, help="References a forward pass."),
    rounds: int = typer.Option(DEFAULT.rounds, help="Turns of every side."),
    dtype: str = typer.Option(AUTO, help="float32, bfloat16 or auto, as kmem build has it."),
    device: str = typer.Option(DEVICE, help="cpu, or cuda where PyTorch finds a GPU.", callback=known_device),
    json_file: str | None = JSON_FILE,
) -> None:
    """How many chunks a second, against a plain forward that returns its attention, and against the most that this machine multiplies?"""
    require_folder("--json", json_file)
    config = EncodeConfig(rounds=rounds, chunks=chunks, corpus=corpus, profile=usual_profile(model, profile), batch_size=batch_size)
    from kmem.bench.encode.measure import measure_encode
    from kmem.encoder.load import load_model

    loaded, tokenizer = load_model(model, dtype=dtype, device=device)
    with progress_bars(quiet=json_file == STANDARD_OUTPUT) as progress:
        figures = measure_encode(loaded, tokenizer, config, progress=progress)
    if not write_json("encode", figures, json_file):
        output().print(sides_table(figures))
        output().print(figures_table(figures))


def sides_table(figures: dict[str, Any]) -> Table:
    """A row a side."""
    used = figures["settings"]
    title = (
        f"{used['model']}, {used['chunks']} chunks of {used['corpus']}, {used['profile']}, {used['batch_size']} a batch, {used['dtype']}"
    )
    table = Table("side", "chunks/s", title=title)
    for name, rate in figures["chunks_per_s"].items():
        table.add_row(name, f"{rate:.2f}")
    return table


def figures_table(figures: dict[str, Any]) -> Table:
    """What it comes to, and what stands between the encoder and the machine's best."""
    table = Table("figure", "measured", "asked at least", title=f"peak: {max(figures['peak_gflop_per_s'].values()):.0f} GFLOP/s")
    for name in ("over_naive", "over_naive_sorted", "work_over_naive", "share_of_peak", "linear_share_of_peak"):
        least = figures["asked"].get(name)
        table.add_row(name, f"{figures[name]:.3f}", "" if least is None else f"{least:.2f}")
    for part, share in figures["time_shares"].items():
        table.add_row(f"time: {part}", f"{share:.1%}", "")
    if figures["device_bytes"] is not None:
        table.add_row("GPU memory", human_bytes(figures["device_bytes"]), "")
    left = figures["left_out"]
    table.caption = (
        f"work_over_naive is work left out: {left['layers_run']} of {left['layers']} layers run, "
        f"on {left['tokens_fed']:,} tokens with padding where the plain forward has {left['tokens_naive']:,}"
    )
    return table
