"""One retriever asked every question: the index that a bank would have, and one question at a time as a tick asks it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from kmem.bench.retrieval.embeddings import cached_embeddings
from kmem.bench.retrieval.task import Task, places
from kmem.kstore.defaults import TOP_K
from kmem.kstore.index.make import make_index
from kmem.kstore.index.queries import Queries
from kmem.kstore.index.reading import OpenIndex
from kmem.kstore.index.retriever import Retriever
from kmem.kstore.place import LocalPlace
from kmem.progress import Progress

RANKED = 100
"""Rows that are ranked to count articles: at twenty different ones there are seldom more."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """places: see task.places. figures: `index`, `embed_p50_ms`, `search_p50_ms`."""

    places: Sequence[int | None]
    figures: dict[str, Any]


def ask_all(found_by: Retriever, task: Task, stage: str, progress: Progress) -> Asked:
    """Index the rows, then time each question: its embedding, and a search for as many memories as a span reads. Ranks aren't timed."""
    total, done = len(task.rows) + len(task.questions), 0

    def report(more: int) -> None:
        nonlocal done
        done += more
        progress(stage, done, total)

    progress(stage, 0, total)
    vectors = cached_embeddings(found_by, task.rows, report)
    with TemporaryDirectory(prefix="kmem-bench-") as folder:
        place = LocalPlace(Path(folder))
        ids = np.arange(len(task.rows), dtype=np.int64)
        record = make_index(place, vectors, lambda: task.rows, ids, found_by.identity(), embed_queries=found_by.embed_queries)
        index = OpenIndex(place, record)
        _ask(found_by, index, task.questions[0].query)  # loads what is loaded once
        answers = []
        for question in task.questions:
            answers.append(_ask(found_by, index, question.query))
            report(1)
    found, embed_s, search_s = zip(*answers, strict=True)
    times = {"embed_p50_ms": 1000 * float(np.median(embed_s)), "search_p50_ms": 1000 * float(np.median(search_s))}
    return Asked(places=places(task, found), figures={"index": record.factory, **times})


def _ask(found_by: Retriever, index: OpenIndex, text: str) -> tuple[list[int], float, float]:
    """Rows, nearest first; seconds to embed the text and to search with it."""
    began = time.perf_counter()
    query = Queries(vectors=found_by.embed_queries([text]), texts=(text,))
    embedded = time.perf_counter()
    index.search(query, TOP_K)
    searched = time.perf_counter()
    rows = index.search(query, RANKED)[1][0].tolist()
    return [row for row in rows if row >= 0], embedded - began, searched - embedded
