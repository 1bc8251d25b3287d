"""`fill`: a run of rows → a part of the search index, from a copy of the index that was trained once."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kmem.kstore.claim import BUILD
from kmem.kstore.index.parts import filled, read_part, write_part
from kmem.pipelines.drops import load_rows
from kmem.pipelines.ledger import CAME, KEPT, Receipt
from kmem.pipelines.receipts import Receipts
from kmem.pipelines.steps.site import opened
from kmem.pipelines.tools import Tools
from kmem.pipelines.vectors import shard_vectors

FILL = "fill"
TRAINED = f"{BUILD}/index/trained.faiss"


@dataclass(frozen=True, kw_only=True)
class PartTask:
    """Rows `first` to `end` of the bank, of which each shard but the last has `rows_per_shard`."""

    index: int
    first: int
    end: int
    rows: int
    rows_per_shard: int
    aside: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class FillStep:
    """site: of the bank."""

    site: str

    stage = FILL

    def __call__(self, task: PartTask, tools: Tools) -> Receipt:
        place, began, each = opened(self.site, tools), time.perf_counter(), task.rows_per_shard
        receipts, parts = Receipts(place), []
        for shard in range(task.first // each, -(-task.end // each)):
            start = shard * each
            vectors = shard_vectors(receipts, shard, min(each, task.rows - start))
            parts.append(vectors[max(0, task.first - start) : task.end - start])
        ids = load_rows(place, ids_file(task.index))
        write_part(place, part_file(task.index), filled(read_part(place, TRAINED), np.concatenate(parts), ids))
        count = task.end - task.first
        return Receipt(index=task.index, counts={CAME: count, KEPT: count}, seconds=time.perf_counter() - began)

    def units(self, task: PartTask, tools: Tools) -> Iterator[Any]:
        """None: it sees no texts."""
        return iter(())

    def alone(self, unit: Any, task: PartTask, tools: Tools) -> None:
        """Never called."""


def part_file(index: int) -> str:
    """Where a part is kept until all are merged."""
    return f"{BUILD}/index/{index:05d}.faiss"


def ids_file(index: int) -> str:
    """Where the ids of a part are."""
    return f"{BUILD}/index/{index:05d}.npy"
