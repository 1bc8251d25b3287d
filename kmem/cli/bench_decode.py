"""`kmem bench decode`: how fast a model generates while it reads memories."""

from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from kmem.bench.decode.config import NEW_TOKENS, SHORT, DecodeConfig
from kmem.cli.bench_json import JSON_FILE, STANDARD_OUTPUT, require_outputs, write_json
from kmem.cli.device import known_device
from kmem.cli.render import human_bytes, output, progress_bars
from kmem.encoder.defaults import DEVICE, DTYPE, SMOLLM2
from kmem.encoder.presets import usual_profile

DEFAULT = DecodeConfig()


def decode(
    model: str = typer.Option(SMOLLM2, help="smollm2, gemma3-270m, preset:memory3-2b, a model folder, or a hub name."),
    bank: str | None = typer.Option(None, help="Folder of a bank of this model; else one is built into the cache."),
    corpus: str = typer.Option(DEFAULT.corpus, help="What the bank is built from: a file, folder, glob or corpus:NAME."),
    memories: int = typer.Option(DEFAULT.memories, help="Memories of the bank that is built."),
    running: bool = typer.Option(
        DEFAULT.running,
        "--running/--documents",
        help="Cut the corpus as one running text, or its documents as they come.",
    ),
    profile: str = typer.Option(DEFAULT.profile, help="Budgets of its memories: auto, a shipped name or a profile's JSON file."),
    rounds: int = typer.Option(DEFAULT.rounds, help="Turns of every side at every size."),
    batch: list[int] | None = typer.Option(None, help="Rows of a batch, by default 1, with --full also 8."),
    new_tokens: list[int] | None = typer.Option(
        None, help=f"Tokens to generate, by default {SHORT} and {NEW_TOKENS}, with --full also 512."
    ),
    prompt_tokens: int = typer.Option(DEFAULT.prompt_tokens, help="Tokens of the prompt."),
    top_k: int = typer.Option(DEFAULT.top_k, help="Memories read at once, and texts put into the prompt."),
    every: int = typer.Option(DEFAULT.every, help="Tokens between two retrievals."),
    full: bool = typer.Option(False, "--full", help="Larger batches, longer answers and a cold disk, too: an hour."),
    dtype: str = typer.Option(DTYPE, help="float32, bfloat16 or auto."),
    device: str = typer.Option(DEVICE, help="cpu, or cuda where PyTorch finds a GPU.", callback=known_device),
    picture: str | None = typer.Option(None, metavar="PNG", help="Draw tokens per second."),
    json_file: str | None = JSON_FILE,
) -> None:
    """How many tokens a second, and how long until the first, with nothing, with memories, with the same references' text in the prompt?"""
    require_outputs(json_file, picture)
    config = DecodeConfig(
        rounds=rounds,
        full=full,
        batches=tuple(batch) if batch else None,
        new_tokens=tuple(new_tokens) if new_tokens else None,
        prompt_tokens=prompt_tokens,
        top_k=top_k,
        every=every,
        corpus=corpus,
        memories=memories,
        running=running,
        profile=usual_profile(model, profile),
    )
    from kmem.arguments import path_of
    from kmem.bench.decode.measure import measure_decode
    from kmem.bench.decode.prepared import cached_bank
    from kmem.encoder.load import load_model

    loaded, tokenizer = load_model(model, dtype=dtype, device=device)
    with progress_bars(quiet=json_file == STANDARD_OUTPUT) as progress:
        place = cached_bank(config, model=model, device=device, progress=progress) if bank is None else path_of(bank, "--bank")
        figures = measure_decode(loaded, tokenizer, place, config, progress=progress)
    told = write_json("decode", figures, json_file)
    if picture is not None:
        from kmem.bench.decode.picture import draw_speeds

        draw_speeds(figures, Path(picture))
    if told:
        return
    for cell in figures["cells"].values():
        output().print(sides_table(cell, figures["settings"]))
    output().print(asked_table(figures))


def sides_table(cell: dict[str, Any], settings: dict[str, Any]) -> Table:
    """A row a side."""
    title = f"{settings['model']}, batch {cell['batch']}, {settings['prompt_tokens']} in, {cell['new_tokens']} out, {settings['dtype']}"
    table = Table("reads", "tokens/s", "first token", "decoding alone", "of nothing's", "of the text's", "stall a retrieval", title=title)
    on_gpu = any(side["device_bytes"] for side in cell["sides"].values())
    if on_gpu:
        table.add_column("GPU memory")
    for name, side in cell["sides"].items():
        stall = side.get("stall_ms_per_tick")
        table.add_row(
            name,
            f"{side['tokens_per_s']:.2f}",
            f"{side['first_token_s']:.3f} s",
            f"{side['decode_tokens_per_s']:.2f}",
            _ratio(cell["memory_over_none"].get(name)),
            _ratio(cell["memory_over_text"].get(name)),
            "" if stall is None else f"{stall:.1f} ms",
            *([human_bytes(side["device_bytes"])] if on_gpu else []),
        )
    return table


def asked_table(figures: dict[str, Any]) -> Table:
    """What is asked beside what was measured."""
    table = Table("figure (batch 1, warm disk)", "measured", "asked at least", title="what it comes to")
    for name, least in figures["asked"].items():
        table.add_row(name, _ratio(figures.get(name)) or "not measured", f"{least:.2f}")
    return table


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
