"""`embed`: the chunks of a shard → vectors, kept until the index is built."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from kmem.document import Chunk
from kmem.pipelines.ledger import CAME, KEPT, Receipt
from kmem.pipelines.receipts import Receipts
from kmem.pipelines.steps.encode import ShardTask, shard_chunks, stored_references
from kmem.pipelines.steps.site import opened
from kmem.pipelines.tools import Recipe, Tools

EMBED = "embed"


@dataclass(frozen=True, kw_only=True)
class EmbedStep:
    """site: of the bank. dim: of a vector."""

    site: str
    recipe: Recipe
    dim: int

    stage = EMBED

    def __call__(self, task: ShardTask, tools: Tools) -> Receipt:
        place = opened(self.site, tools)
        receipts = Receipts(place)
        began = time.perf_counter()
        reused = receipts.has_vectors(task.index, rows=task.rows, dim=self.dim)
        if not reused:
            retriever = self.recipe.retriever(tools)
            began = time.perf_counter()  # loading it is no embedding
            texts = list(stored_references(place, task))
            receipts.set_aside(task.index, task.aside)  # before vectors that were made without them can be found
            receipts.save_vectors(task.index, retriever.embed(texts, progress=tools.advance))
        counts = {CAME: task.rows, KEPT: task.rows}
        seconds = time.perf_counter() - began
        return Receipt(index=task.index, counts=counts, facts={"aside": task.aside}, seconds=seconds, reused=reused)

    def units(self, task: ShardTask, tools: Tools) -> Iterator[Chunk]:
        """The chunks of the shard."""
        return shard_chunks(opened(self.site, tools), task)

    def alone(self, unit: Chunk, task: ShardTask, tools: Tools) -> None:
        self.recipe.retriever(tools).embed([unit.reference])
