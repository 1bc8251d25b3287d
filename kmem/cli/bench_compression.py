"""`kmem bench compression`: how small can memories be?"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer
from rich.table import Table

from kmem.bench.compression.config import CompressionConfig
from kmem.cli.bench_json import JSON_FILE, STANDARD_OUTPUT, require_outputs, write_json
from kmem.cli.render import human_bytes, output, progress_bars
from kmem.encoder.defaults import SMOLLM2

DEFAULT = CompressionConfig()
NOTHING = "–"


def compression(
    model: str = typer.Option(SMOLLM2, help="smollm2, gemma3-270m, a model folder, or a hub name."),
    corpus: str = typer.Option(DEFAULT.corpus, help="Whose held-out passages to ask about, and whose others to learn from."),
    profile: str = typer.Option(DEFAULT.profile, help="Budgets of the memories: a shipped name or a profile's JSON file."),
    articles: int = typer.Option(DEFAULT.articles, help="Passages to ask about."),
    learning: int = typer.Option(DEFAULT.learning, help="Passages that the vector quantiser learns from."),
    picture: str | None = typer.Option(None, metavar="PNG", help="Draw bytes against share."),
    json_file: str | None = JSON_FILE,
) -> None:
    """What does each quantiser keep of a memory, at how many bytes? With Memory³'s ledger: 7.17 PB → 45.9 TB → 4.02 TB."""
    require_outputs(json_file, picture)
    config = CompressionConfig(corpus=corpus, profile=profile, articles=articles, learning=learning)
    from kmem.bench.compression.measure import measure_compression
    from kmem.encoder.load import load_model

    loaded, tokenizer = load_model(model)
    with TemporaryDirectory(prefix="kmem-bench-") as folder, progress_bars(quiet=json_file == STANDARD_OUTPUT) as progress:
        figures = measure_compression(loaded, tokenizer, config, Path(folder), progress=progress)
    printed = write_json("compression", figures, json_file)
    if picture is not None:
        from kmem.bench.compression.picture import draw_quantisers

        draw_quantisers(figures, Path(picture))
    if not printed:
        output().print(ledger_table(figures["ledger"]))
        output().print(quantisers_table(figures))


def ledger_table(ledger: dict[str, float]) -> Table:
    """Memory³'s three sizes."""
    table = Table("Memory³'s bank", "bytes", "of the paper's", "smaller", title=f"{ledger['references']:,} references")
    for key, what in (("dense", "all layers and heads"), ("sparse", "8 of 128 tokens, half the layers"), ("vq", "the same, quantised")):
        smaller = ledger["dense_bytes"] / ledger[f"{key}_bytes"]
        table.add_row(what, human_bytes(ledger[f"{key}_bytes"]), f"{ledger[f'{key}_over_paper']:.3f}", f"{smaller:.0f}×")
    return table


def quantisers_table(figures: dict[str, Any]) -> Table:
    """A row a quantiser."""
    settings = figures["settings"]
    best = f"smallest within {settings['within']:.0%} of fp16: {figures['smallest_within'] or NOTHING}"
    title = f"{settings['articles']} passages of {settings['corpus']}, {settings['profile']}; {best}"
    columns = ("a memory", "of fp16", "overhead", "keys' error", "values' error", "attention's", "share", "at least", "decoded GB/s")
    table = Table("quantiser", *columns, title=title)
    for name, row in figures["quantisers"].items():
        errors = (f"{row[key]:.2%}" for key in ("key_error", "value_error", "attention_error"))
        table.add_row(
            name,
            human_bytes(row["record_bytes"]),
            f"1/{row['ratio']:.2f}",
            f"{row['overhead']:.4f}",
            *errors,
            _number(row["share_of_text_gain"], ".1%"),
            _number(row["low95"], ".1%"),
            _number(row["decode_gb_per_s"], ".1f"),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)
