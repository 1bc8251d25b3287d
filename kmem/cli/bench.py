"""`kmem bench NAME`: measure, and print or save one JSON object."""

import json
from pathlib import Path

import typer
from rich.table import Table

from kmem.bench.config import QualityConfig
from kmem.cli.render import human_bytes, output, progress_bars
from kmem.encoder.defaults import SMOLLM2
from kmem.errors import ConfigError

app = typer.Typer(
    help="Measurements you can repeat; each prints a table, or with **--json FILE** writes one JSON object.", no_args_is_help=True
)

DEFAULT = QualityConfig()
JSON_FILE = typer.Option(None, "--json", metavar="FILE", help="Write the JSON object here, - for standard output.")


@app.callback()
def common() -> None:
    """Keeps `bench` a group even while it has a single benchmark."""


@app.command("quality")
def quality(
    model: str = typer.Option(SMOLLM2, help="smollm2, a model folder, or a hub name."),
    articles: int = typer.Option(DEFAULT.articles, min=1, help="FOLDOC articles to ask about."),
    seed: int = typer.Option(DEFAULT.seed, help="Which articles."),
    profile: list[str] = typer.Option(list(DEFAULT.profiles), help="Profiles to measure beside the dense one; repeatable."),
    json_file: str | None = JSON_FILE,
) -> None:
    """How much of what the text in the prompt gains do memories gain? Oracle memories of FOLDOC articles, NLL of their beginnings."""
    from kmem.bench.quality import measure_quality
    from kmem.bench.report import framed
    from kmem.encoder.load import load_model

    if json_file is not None and json_file != "-" and not Path(json_file).parent.is_dir():
        raise ConfigError(f"--json {json_file}: there is no folder {Path(json_file).parent}; make it first.")
    loaded, tokenizer = load_model(model)
    config = QualityConfig(articles=articles, seed=seed, profiles=tuple(profile))
    with progress_bars(quiet=json_file == "-") as progress:
        figures = measure_quality(loaded, tokenizer, config, progress=progress)
    if json_file == "-":
        typer.echo(json.dumps(framed("quality", figures), indent=2))
        return
    if json_file is not None:
        Path(json_file).write_text(json.dumps(framed("quality", figures), indent=2) + "\n")
    table = Table("knows from", "NLL a token", "share of the text's gain", "bytes a memory", title=f"{articles} FOLDOC articles, {model}")
    for name, nll in figures["nll"].items():
        share, size = figures["share_of_text_gain"].get(name), figures["bytes_per_memory"].get(name)
        table.add_row(name, f"{nll:.3f}", "" if share is None else f"{share:.0%}", "" if size is None else human_bytes(size))
    output().print(table)
