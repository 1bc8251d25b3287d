"""`kmem bench retrieval`: which retriever finds the article that a sentence is from?"""

from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from kmem.bench.retrieval.config import OTHER_POOL, POOL, RetrievalConfig
from kmem.cli.bench_json import JSON_FILE, STANDARD_OUTPUT, require_outputs, write_json
from kmem.cli.render import output, progress_bars
from kmem.encoder.defaults import SMOLLM2

DEFAULT = RetrievalConfig()


def retrieval(
    model: str = typer.Option(SMOLLM2, help="Whose hidden states `hidden` compares, and whose tokens chunks are cut by."),
    corpus: list[str] | None = typer.Option(
        None, help="Titled documents: a file, folder, glob or corpus:NAME; by default FOLDOC, Vital Articles and Chinese law."
    ),
    retriever: list[str] | None = typer.Option(
        None, help="Retrievers to measure, as --embedder of kmem build takes them; by default the built-in ones."
    ),
    questions: int = typer.Option(DEFAULT.questions, help="Sentences to ask about, at most one an article."),
    pool: int | None = typer.Option(
        None, help=f"Chunks that are searched, at most, whole articles up to them; by default {POOL:,} of FOLDOC, {OTHER_POOL:,} of others."
    ),
    seed: int = typer.Option(DEFAULT.seed, help="Which articles and sentences."),
    full: bool = typer.Option(False, "--full", help="Harder questions, too, and inverted lists against Flat at a million vectors."),
    picture: str | None = typer.Option(None, metavar="PNG", help="Draw recall@5 a corpus and retriever."),
    json_file: str | None = JSON_FILE,
) -> None:
    """Which retriever finds the article that a sentence without its title's words is from, and in how many milliseconds?"""
    require_outputs(json_file, picture)
    config = RetrievalConfig(
        corpora=tuple(corpus) if corpus else DEFAULT.corpora,
        retrievers=tuple(retriever) if retriever else None,
        questions=questions,
        pool=pool,
        full=full,
        seed=seed,
    )
    from kmem.bench.retrieval.measure import measure_retrieval, require_found
    from kmem.encoder.load import load_model

    require_found(config)
    loaded, tokenizer = load_model(model)
    with progress_bars(quiet=json_file == STANDARD_OUTPUT) as progress:
        figures = measure_retrieval(loaded, tokenizer, config, progress=progress)
    printed = write_json("retrieval", figures, json_file)
    if picture is not None:
        from kmem.bench.retrieval.picture import draw_recall

        draw_recall(figures, Path(picture))
    if printed:
        return
    for name, found in (figures["corpora"] | figures.get("harder", {})).items():
        output().print(recall_table(found, title=f"{escape(name)}: {found['questions']} questions, {found['rows']:,} chunks"))
    for name, why in figures["skipped"].items():
        output().print(f"{name} was left out. {why}", markup=False)


def recall_table(found: dict[str, Any], *, title: str) -> Table:
    """A row a retriever; a hybrid's says how it compares with its parts at recall@5."""
    table = Table(
        "retriever", "recall@1", "recall@5", "recall@20", "embed", "search", "index", "recall@5 less its parts' (95%)", title=title
    )
    for name, row in found["retrievers"].items():
        parts = found["against_parts"].get(name, {}).get("recall@5", {})
        less = "; ".join(
            f"{part} {_points(pair['difference'])} ({_points(pair['low95'])} to {_points(pair['high95'])})" for part, pair in parts.items()
        )
        recalls = (f"{row[f'recall@{k}']:.3f}" for k in (1, 5, 20))
        table.add_row(escape(name), *recalls, f"{row['embed_p50_ms']:.2f} ms", f"{row['search_p50_ms']:.2f} ms", row["index"], less)
    return table


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
