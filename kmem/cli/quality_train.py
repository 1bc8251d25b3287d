"""`kmem quality train`: labelled lines → a scorer, with figures of rows it never saw."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from kmem.arguments import path_of
from kmem.cli.render import JSON_OPTION, output, print_json, progress_bars
from kmem.errors import BankExistsError, ConfigError

NGRAM = "ngram"
MINILM = "minilm"


def train(
    labelled: str = typer.Argument(metavar="LABELLED.jsonl", help='Rows of {"text": …, "label": …}, and "source" where there are several.'),
    out: str = typer.Option(..., metavar="FOLDER", help="Folder to write the scorer into."),
    kind: str = typer.Option(NGRAM, help="What it weighs: ngram (any language, megabytes a second) or embedding."),
    embedder: str = typer.Option(
        MINILM, help="Whose vectors, for --kind embedding: minilm, multilingual or a sentence-transformers model."
    ),
    highest: float | None = typer.Option(None, help="The label that means 1; default 1 where none is above it, else 5."),
    force: bool = typer.Option(False, "--force", help="Replace a scorer that is there already."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Train a scorer, and measure it on **texts and whole sources it was not trained on**. Labels are 0 and 1, or grades up to 5."""
    from kmem.kbuild.quality.features import EMBEDDED, EMBEDDING, FeaturesConfig
    from kmem.kbuild.quality.labelled import read_labelled
    from kmem.kbuild.quality.report import provenance
    from kmem.kbuild.quality.scorer import DESCRIPTION
    from kmem.kbuild.quality.train import TrainConfig
    from kmem.kbuild.quality.train import train as learn

    folder, path = path_of(out, "--out"), path_of(labelled, "LABELLED")
    if (folder / DESCRIPTION).exists() and not force:
        raise BankExistsError(f"--out {folder} holds a scorer already; choose another folder, or pass --force to replace it.")
    _require_room(folder)
    if kind != EMBEDDING and embedder != MINILM:
        raise ConfigError(f"--embedder {embedder} is for --kind {EMBEDDING}, and the kind is {kind}; change the kind, or leave it out.")
    config = TrainConfig(features=EMBEDDED if kind == EMBEDDING else FeaturesConfig(kind=kind))
    rows = read_labelled(path, highest)
    vectors = None
    if kind == EMBEDDING:
        from kmem.kstore.index.embed import Embedder

        _require_vectors(embedder)
        vectors = Embedder(embedder)
    with progress_bars(quiet=as_json) as progress:
        scorer, figures = learn(rows, config, name=folder.name, embedder=vectors, progress=progress)
    command = shlex.join(["kmem", *(word for word in sys.argv[1:] if word != "--force")])
    scorer = replace(scorer, provenance=provenance(path, figures, command))
    scorer.save(folder)
    if as_json:
        print_json({"folder": str(folder), **scorer.identity(), **figures})
        return
    output().print(figures_table(figures))
    if figures["by_source"]:
        output().print(sources_table(figures["by_source"]))
    output().print(f"Wrote {folder}; score with kmem quality score … --scorer {folder}.", markup=False)


def _require_room(folder: Path) -> None:
    """Raise ConfigError, before anything is trained, when no folder can be made there."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise ConfigError(f"--out {folder} can't be a folder, {there} is a file; choose another place.")


def _require_vectors(embedder: str) -> None:
    """Raise ConfigError for a retriever that makes no vectors from a text alone."""
    from kmem.kstore.index.bm25 import BM25
    from kmem.kstore.index.hybrid import HYBRID
    from kmem.kstore.index.retrievers import HIDDEN

    if embedder.partition(":")[0] in (BM25, HIDDEN, HYBRID):
        raise ConfigError(f"--embedder {embedder} has no vectors for a scorer; give minilm, multilingual or a sentence-transformers model.")


def figures_table(figures: dict[str, Any]) -> Table:
    """Two columns: texts held out by hash, and the folds."""
    title = f"{figures['rows']:,} rows, highest label {figures['highest_label']:g}, penalty {figures['penalty']:g}"
    table = Table("figure", "held-out texts", "held-out sources" if figures["by_source"] else "folds", title=title)
    for name in figures["held_out"]:
        table.add_row(name.replace("_", " "), *(_figure(figures[part][name]) for part in ("held_out", "folds")))
    return table


def sources_table(by_source: dict[str, Any]) -> Table:
    """A row a source: how it is judged by weights that were learnt without it."""
    table = Table("source, left out", "high rows", "right", "mean score", "low rows", "right", "mean score")
    for source, sides in by_source.items():
        cells = [cell for side in ("high", "low") for cell in _cells(sides.get(side))]
        table.add_row(escape(source), *cells)
    return table


def _cells(side: dict[str, Any] | None) -> tuple[str, str, str]:
    return ("", "", "") if side is None else (str(side["rows"]), f"{side['accuracy']:.0%}", f"{side['mean_score']:.2f}")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
