"""The whole benchmark: every retriever on every corpus, hybrids against their parts, and an index of a million vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.bench.index.measure import IndexBenchConfig, measure_index
from kmem.bench.retrieval.asked import Asked, ask_all
from kmem.bench.retrieval.config import LAW, RetrievalConfig
from kmem.bench.retrieval.paired import paired
from kmem.bench.retrieval.task import AT, TaskConfig, make_task, recall
from kmem.encoder.fingerprint import display_name
from kmem.encoder.hidden import HiddenStates
from kmem.errors import MissingDependencyError
from kmem.kbuild.chunker import Chunker
from kmem.kbuild.expand import expand
from kmem.kbuild.foldoc import FOLDOC
from kmem.kstore.index.bm25 import BM25
from kmem.kstore.index.embed import MINILM
from kmem.kstore.index.hybrid import HYBRID
from kmem.kstore.index.retriever import Retriever
from kmem.kstore.index.retrievers import RETRIEVERS, needs_model, retriever
from kmem.progress import Progress, silent

FEW_WORDS = 8
"""Of a question that is shorter than its sentence."""


def measure_retrieval(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: RetrievalConfig, *, progress: Progress = silent
) -> dict[str, Any]:
    """`recall5` by retriever over FOLDOC and `chinese_recall5` over Chinese law, where they are asked; `search_p50_ms`, the slowest
    retriever's on any corpus; and `corpora`, each with its rows, articles and questions, and

    `retrievers`: by name `recall@1`, `@5`, `@20`, `index`, and `embed_p50_ms` and `search_p50_ms` of one question at a time;
    `against_parts`: every hybrid less each of its parts on the same questions, with a 95% interval.

    model, tokenizer: of `hidden`; rows are cut by the tokenizer. With `config.full`, `harder`: the same of the first corpus with other
    questions; and `index`: see `measure_index`. `skipped`: built-in retrievers that are not installed, and why; one that was asked for by
    name raises.
    """
    chunker = Chunker(tokenizer)
    found_by, skipped = _retrievers(model, tokenizer, config)
    tasks = {
        corpus: TaskConfig(corpus=corpus, questions=config.questions, pool=config.pool_of(corpus), seed=config.seed)
        for corpus in config.corpora
    }
    corpora = {corpus: _measured(task, chunker, _of(found_by, corpus, config), corpus, progress) for corpus, task in tasks.items()}
    figures: dict[str, Any] = {}
    for key, corpus in (("recall5", FOLDOC), ("chinese_recall5", LAW)):
        if corpus in corpora:
            figures[key] = {name: row["recall@5"] for name, row in corpora[corpus]["retrievers"].items()}
    figures |= {
        "search_p50_ms": max(row["search_p50_ms"] for table in corpora.values() for row in table["retrievers"].values()),
        "corpora": corpora,
        "skipped": skipped,
    }
    if config.full:
        first = config.corpora[0]
        harder = {
            f"{first}, sentences left out of the index": replace(tasks[first], sentence_in_index=False),
            f"{first}, a question's first {FEW_WORDS} words": replace(tasks[first], words=FEW_WORDS),
        }
        figures["harder"] = {
            label: _measured(task, chunker, _of(found_by, first, config), label, progress) for label, task in harder.items()
        }
        figures["index"] = _million(config, progress)
    figures["settings"] = {
        "model": display_name(model),
        "questions": config.questions,
        "pools": {corpus: config.pool_of(corpus) for corpus in config.corpora},
        "seed": config.seed,
    }
    return figures


def require_found(config: RetrievalConfig) -> None:
    """Raise what a corpus or a retriever that isn't there raises: before a model is loaded, and before another corpus has been measured.

    The corpora are fetched.
    """
    for name in config.retrievers or ():
        if not needs_model({"name": name}):
            made = retriever(name)
            if name not in RETRIEVERS:
                made.identity()
    for corpus in config.corpora:
        expand([corpus])


def against_parts(asked: Mapping[str, Asked]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """By hybrid, `recall@k` and part, `paired`: for those whose parts were asked, too."""
    table: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for name, hybrid in asked.items():
        kind, _, of = name.partition(":")
        if kind == HYBRID:
            parts = [part for part in (of or MINILM, BM25) if part in asked]
            table[name] = {
                f"recall@{k}": {part: paired(_within(hybrid.places, k), _within(asked[part].places, k)) for part in parts} for k in AT
            }
    return table


def _within(places: Sequence[int | None], k: int) -> list[bool]:
    return [place is not None and place <= k for place in places]


def _retrievers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: RetrievalConfig
) -> tuple[dict[str, Retriever], dict[str, str]]:
    """By name, loaded, each once; and why a built-in one is not there. Raises what loading one that was named raises."""
    found: dict[str, Retriever] = {}
    skipped: dict[str, str] = {}
    for name in dict.fromkeys(name for corpus in config.corpora for name in config.retrievers_of(corpus)):
        made = retriever(name, hidden=lambda: HiddenStates(model, tokenizer))
        try:
            made.identity()
        except MissingDependencyError as error:
            if config.retrievers is not None:
                raise
            skipped[name] = str(error)
        else:
            found[name] = made
    return found, skipped


def _of(found_by: Mapping[str, Retriever], corpus: str, config: RetrievalConfig) -> dict[str, Retriever]:
    return {name: found_by[name] for name in config.retrievers_of(corpus) if name in found_by}


def _measured(config: TaskConfig, chunker: Chunker, found_by: Mapping[str, Retriever], label: str, progress: Progress) -> dict[str, Any]:
    task = make_task(config, chunker)
    asked = {name: ask_all(one, task, f"{label.removeprefix('corpus:')}, {name}", progress) for name, one in found_by.items()}
    return {
        "rows": len(task.rows),
        "articles": len(task.articles),
        "questions": len(task.questions),
        "left_out": task.left_out,
        "retrievers": {name: {**recall(one.places), **one.figures} for name, one in asked.items()},
        "against_parts": against_parts(asked),
    }


def _million(config: RetrievalConfig, progress: Progress) -> dict[str, Any]:
    progress("index", 0, 1)
    with TemporaryDirectory(prefix="kmem-bench-") as folder:
        figures = measure_index(IndexBenchConfig(rows=config.index_rows, seed=config.seed), Path(folder))
    progress("index", 1, 1)
    return figures
