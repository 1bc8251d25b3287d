"""`encode`: the chunks of a shard → memories, written where they stay."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kmem.document import Chunk
from kmem.encoder.encode import Encoder
from kmem.identity import Identity, content_id
from kmem.kstore.generation import GenerationWriter
from kmem.kstore.manifest import Shard
from kmem.kstore.place import Place
from kmem.kstore.quant import quantiser
from kmem.memories import EMPTY_SLOT, Memories
from kmem.paths import FIRST_GENERATION
from kmem.pipelines.drops import load_rows
from kmem.pipelines.ledger import CAME, KEPT, REJECTED, Ledger, Receipt
from kmem.pipelines.receipts import Receipts
from kmem.pipelines.records import chunks_at, references_at
from kmem.pipelines.steps.chunk import CHUNK
from kmem.pipelines.steps.site import opened
from kmem.pipelines.tools import Recipe, Tools

ENCODE = "encode"
KEPT_ROWS = "kept"
"""Folder of the rows of each partition's chunks that are in the bank."""


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """Consecutive kept chunks. spans: (partition, first, end) of its kept chunks. aside: rows that stay empty, and why."""

    index: int
    rows: int
    spans: tuple[tuple[int, int, int], ...]
    aside: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class EncodeStep:
    """site: of the bank. identity: what the worker's model must be. Without `encode` only texts are written."""

    site: str
    recipe: Recipe
    identity: Identity
    quantiser: str
    rows: int
    rows_per_shard: int
    encode: bool

    stage = ENCODE

    def __call__(self, task: ShardTask, tools: Tools) -> Receipt:
        """Raises IdentityMismatchError where the worker has another model."""
        place = opened(self.site, tools)
        receipts = Receipts(place)
        writer = self._writer(place, tools)
        shard = receipts.finished(task.index)
        reused = shard is not None and writer.would_name(shard) and receipts.aside(task.index) == task.aside
        began = time.perf_counter()
        if shard is None or not reused:
            receipts.set_aside(task.index, task.aside)
            shard = self._written(writer, task, place, tools)
            receipts.finish(task.index, shard)
        counts = {CAME: task.rows, KEPT: task.rows - len(task.aside)}
        for _, reason in task.aside:
            counts[f"{REJECTED}{reason}"] = counts.get(f"{REJECTED}{reason}", 0) + 1
        facts = {"shard": shard.to_dict(), "aside": task.aside}
        return Receipt(index=task.index, counts=counts, facts=facts, seconds=time.perf_counter() - began, reused=reused)

    def units(self, task: ShardTask, tools: Tools) -> Iterator[Chunk]:
        """The chunks of the shard."""
        return shard_chunks(opened(self.site, tools), task)

    def alone(self, unit: Chunk, task: ShardTask, tools: Tools) -> None:
        if self.encode:
            writer = self._writer(opened(self.site, tools), tools)
            writer.quantiser.encode(self._encoder(tools).encode([unit.reference], [unit.id]).kv)

    def _encoder(self, tools: Tools) -> Encoder:
        encoder = self.recipe.encoder(tools)
        self.identity.require_compatible(encoder.spec.identity)
        return encoder

    def _writer(self, place: Place, tools: Tools) -> GenerationWriter:
        """The worker's own view of the generation, whose metadata are written already."""

        def make() -> GenerationWriter:
            spec = self._encoder(tools).spec
            codec = quantiser(self.quantiser)
            return GenerationWriter(place, FIRST_GENERATION, spec, codec, self.rows, self.rows_per_shard, on_demand=not self.encode)

        return tools.get(("writer", self), make)

    def _written(self, writer: GenerationWriter, task: ShardTask, place: Place, tools: Tools) -> Shard:
        chunks = list(stored_chunks(place, task))
        if not self.encode:
            return writer.write_texts(task.index, chunks)
        aside = {row for row, _ in task.aside}
        return writer.write_shard(task.index, encoded(self._encoder(tools), chunks, aside, tools), chunks)


def encoded(encoder: Encoder, chunks: Sequence[Chunk], aside: set[int], tools: Tools) -> Memories:
    """The memories of these chunks; those of rows in `aside` are empty."""
    done = 0

    def more(count: int) -> None:
        nonlocal done
        tools.advance(count - done)
        done = count

    good = [row for row in range(len(chunks)) if row not in aside]
    memories = encoder.encode([chunks[row].reference for row in good], [chunks[row].id for row in good], progress=more)
    if not aside:
        return memories
    slots, dim = encoder.profile.slots, encoder.spec.head_dim
    kv = torch.zeros(len(chunks), 2, slots, dim, dtype=memories.kv.dtype)
    positions = torch.full((len(chunks), slots), EMPTY_SLOT, dtype=torch.uint8)
    lengths = torch.ones(len(chunks), dtype=torch.long)
    kv[good], positions[good], lengths[good] = memories.kv, memories.slot_position, memories.lengths
    return Memories(kv=kv, slot_position=positions, lengths=lengths, ids=tuple(chunk.id for chunk in chunks), spec=encoder.spec)


def hole(chunk: Chunk) -> Chunk:
    """What stands in the row of a chunk that could not be encoded: its place in the source, no text, an id of its own.

    It is listed as deleted, so nobody reads it, and the next compaction takes it out; an append of its document tries the chunk again.
    """
    return Chunk(
        id=content_id("rejected", chunk.id),
        document_id=chunk.document_id,
        source=chunk.source,
        title="",
        text="",
        start=chunk.start,
        end=chunk.start,
        tokens=1,
    )


def shard_chunks(place: Place, task: ShardTask) -> Iterator[Chunk]:
    """The chunks of a shard, in order."""
    for file, rows in _kept(place, task):
        yield from chunks_at(place, file, rows)


def stored_chunks(place: Place, task: ShardTask) -> Iterator[Chunk]:
    """The same as the bank has them: a hole in each row that stays empty."""
    aside = {row for row, _ in task.aside}
    for row, chunk in enumerate(shard_chunks(place, task)):
        yield hole(chunk) if row in aside else chunk


def stored_references(place: Place, task: ShardTask) -> Iterator[str]:
    """The `reference` of each of `stored_chunks`."""
    aside = {row for row, _ in task.aside}
    references = (text for file, rows in _kept(place, task) for text in references_at(place, file, rows))
    for row, text in enumerate(references):
        yield "" if row in aside else text


def _kept(place: Place, task: ShardTask) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """The files that a shard's chunks are in, and their rows there."""
    chunks, kept = Ledger(place, CHUNK), Ledger(place, KEPT_ROWS)
    for partition, first, end in task.spans:
        yield chunks.file(partition, "parquet"), load_rows(place, kept.file(partition, "npy"))[first:end]


def shard_of(receipt: Receipt) -> Shard:
    """The record of the shard that a receipt is about."""
    data: dict[str, Any] = dict(receipt.facts["shard"])
    return Shard.from_dict(data)
