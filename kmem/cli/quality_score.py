"""`kmem quality score`: documents → scores, in a file, a table or a picture."""

import json
import os
import time
from collections import Counter
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from kmem.arguments import require_count
from kmem.cli.bench_json import require_folder, require_picture
from kmem.cli.render import JSON_OPTION, output, print_json, printable, working
from kmem.errors import ConfigError
from kmem.written import whole_text

if TYPE_CHECKING:
    from kmem.document import Document

GENERAL = "general"
EXTREMES = 3
SHOWN_CHARACTERS = 70


def score(
    texts: list[str] = typer.Argument(metavar="TEXTS…", help="Files, folders, globs or corpus:NAME, as kmem build takes them."),
    scorer: str = typer.Option(GENERAL, help="general, or a folder that kmem quality train wrote."),
    out: str | None = typer.Option(None, metavar="FILE.jsonl", help="Write source, title, score and text of every document."),
    limit: int | None = typer.Option(None, help="Only so many documents."),
    picture: str | None = typer.Option(None, metavar="PNG", help="Draw how many texts have which score."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Score texts between **0 (says nothing) and 1 (informative)**: what --min-quality of a build would keep."""
    from kmem.kbuild.quality.load import load_scorer
    from kmem.kbuild.quality.report import draw_scores, scored, summary
    from kmem.kbuild.sources import documents
    from kmem.kstore.index.embed import Embedder

    require_folder("--out", out)
    require_picture(picture)
    if limit is not None:
        require_count(limit, "limit")
    if out is not None:
        _require_no_source(out, texts)
    used = load_scorer(scorer, Embedder)
    counts: Counter[str] = Counter()
    began, found, characters = time.perf_counter(), [], 0
    with ExitStack() as stack:
        stack.enter_context(working("Scoring", quiet=as_json))
        file = stack.enter_context(whole_text(Path(out))) if out is not None else None
        for document, value in scored(islice(documents(texts, counts), limit), used):
            found.append((value, printable(document.title or document.source), _start(document)))
            characters += len(document.text)
            if file is not None:
                row = {"source": document.source, "title": document.title, "score": value, "text": document.text}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    scores = [value for value, _, _ in found]
    figures = {**summary(scores), "characters": characters, "seconds": time.perf_counter() - began, "scorer": used.identity()}
    if picture is not None:
        draw_scores(scores, Path(picture), title=f"{len(scores):,} texts, scorer {used.name}")
    if as_json:
        print_json({**figures, "counts": dict(counts), **({"scores": scores} if out is None else {"out": out})})
        return
    output().print(scores_table(figures))
    ordered = sorted(found)
    output().print(examples_table("lowest", ordered[:EXTREMES]))
    output().print(examples_table("highest", ordered[::-1][:EXTREMES]))


def scores_table(figures: dict[str, Any]) -> Table:
    """A row a quantile."""
    table = Table("of the texts", "score up to", title=f"{figures['documents']:,} texts, scorer {escape(figures['scorer']['name'])}")
    for part, value in figures["quantiles"].items():
        table.add_row(f"{float(part):.0%}", f"{value:.3f}")
    return table


def examples_table(title: str, rows: list[tuple[float, str, str]]) -> Table:
    """A row a text: its score, its name and how it begins."""
    table = Table("score", "text", "begins", title=title)
    for value, name, start in rows:
        table.add_row(f"{value:.3f}", Text(name[:SHOWN_CHARACTERS]), Text(start))
    return table


def _require_no_source(out: str, texts: list[str]) -> None:
    """Raise ConfigError when the scores would take the place of a text that is to be scored."""
    from kmem.kbuild.sources import expand

    if Path(out).is_file() and any(os.path.realpath(file.path) == os.path.realpath(out) for file in expand(texts)):
        raise ConfigError(f"--out {out} is one of the texts to score and would be overwritten; name another file.")


def _start(document: "Document") -> str:
    return printable(" ".join(document.text[: 2 * SHOWN_CHARACTERS].split()))[:SHOWN_CHARACTERS]
