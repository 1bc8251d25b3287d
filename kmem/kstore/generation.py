"""Writing the memories of one build, append or rewrite: shards, each by one writer, in any order, by many processes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem.document import Chunk
from kmem.errors import ConfigError
from kmem.kstore.chunks import encode_chunks
from kmem.kstore.layout import ROOT, Layout
from kmem.kstore.manifest import Generation, Shard
from kmem.kstore.place import Place
from kmem.kstore.quant import Quantiser
from kmem.kstore.stored import StoredFile, describe, store, store_stream
from kmem.memories import UNREAD_POSITION, Memories, MemorySpec
from kmem.paths import FIRST_GENERATION

BLOCK_BYTES = 8 << 20
"""About how much of a shard is encoded at a time."""


class GenerationWriter:
    """Writes `rows` memories as generation `name`, `rows_per_shard` to a shard; above `rows` that means one shard.

    on_demand: only texts, ids and lengths are written (`write_texts`); each record is, when it is first needed (on_demand.py).

    Two writers of the same generation write the same metadata; no two may write the same shard at the same time.
    Raises ConfigError for bad counts.
    """

    def __init__(
        self,
        place: Place,
        name: str,
        spec: MemorySpec,
        quantiser: Quantiser,
        rows: int,
        rows_per_shard: int,
        *,
        on_demand: bool = False,
    ) -> None:
        if rows < 1 or rows_per_shard < 1:
            raise ConfigError(f"A bank needs at least one memory and one row a shard, not rows={rows}, rows_per_shard={rows_per_shard}.")
        self.place, self.name, self.spec, self.quantiser = place, name, spec, quantiser
        self.rows, self.rows_per_shard, self.on_demand = rows, min(rows, rows_per_shard), on_demand
        self.layout = Layout(
            generation=name,
            rows=rows,
            rows_per_shard=self.rows_per_shard,
            slots=spec.profile.slots,
            record_shape=quantiser.record_shape(spec.profile.slots, spec.head_dim),
            record_dtype=quantiser.record_dtype(),
            attributes={"dtype": quantiser.element, "quantiser": quantiser.to_dict()},
            on_demand=on_demand,
        )

    @property
    def shard_count(self) -> int:
        return -(-self.rows // self.rows_per_shard)

    def shard_rows(self, index: int) -> range:
        """Rows of a shard; the last one may be shorter. Raises ConfigError for an index out of range."""
        if not 0 <= index < self.shard_count:
            raise ConfigError(f"Shard {index} does not exist: {self.rows} rows make shards 0 to {self.shard_count - 1}.")
        first = index * self.rows_per_shard
        return range(first, min(first + self.rows_per_shard, self.rows))

    def would_name(self, shard: Shard) -> bool:
        """Whether a shard that was written earlier lies where this writer's metadata says; one of another format version does not."""
        return shard.length.file == self.layout.file("length", shard.index)

    def write_metadata(self) -> tuple[StoredFile, ...]:
        """Write every zarr.json that is not there as it should be; the root's, which later generations find committed, only where there
        is none.
        """
        shared = ROOT if self.name != FIRST_GENERATION else ""
        return tuple(
            store_if_none(self.place, file, data) if file == shared else store_if_other(self.place, file, data)
            for file, data in self.layout.metadata().items()
        )

    def write_shard(self, index: int, memories: Memories, chunks: Sequence[Chunk]) -> Shard:
        """Write (or write again) one shard. The same input gives the same bytes. Durable when it returns.

        Raises ConfigError when memories and chunks don't belong to each other or to this shard, or when the quantiser can't
        hold a value; IdentityMismatchError when the memories were written by another model.
        """
        self.spec.identity.require_compatible(memories.spec.identity)
        if memories.spec.profile != self.spec.profile:
            raise ConfigError(f"The memories have profile {memories.spec.profile.name!r}, the bank {self.spec.profile.name!r}.")
        if bool((memories.slot_position == UNREAD_POSITION).any()):
            raise ConfigError("These memories were read without their slot positions; read them with positions=True to store them.")
        if len(memories) != len(chunks):
            raise ConfigError(f"There are {len(memories)} memories for {len(chunks)} chunks; give one each.")
        for row, (memory_id, chunk) in enumerate(zip(memories.ids, chunks, strict=True)):
            if memory_id != chunk.id:
                raise ConfigError(f"Row {row} of shard {index}: the memory has id {memory_id}, the chunk id {chunk.id}.")
        each = max(1, BLOCK_BYTES // (int(np.prod(self.layout.record_shape)) * self.layout.record_dtype.itemsize))
        blocks = (self.quantiser.encode(memories.kv[start : start + each]) for start in range(0, len(memories), each))
        return self.write_records(index, blocks, memories.slot_position.cpu().numpy(), memories.lengths.cpu().numpy(), chunks)

    def write_records(
        self,
        index: int,
        blocks: Iterator[NDArray[Any]],
        slot_position: NDArray[np.uint8],
        lengths: NDArray[np.int64],
        chunks: Sequence[Chunk],
    ) -> Shard:
        """The same from records as they are stored, in blocks [n, *record_shape]; slot_position [rows, S], lengths [rows]."""
        if len(slot_position) != len(chunks):
            raise ConfigError(f"There are {len(slot_position)} memories for {len(chunks)} chunks; give one each.")
        return self._write(index, blocks, slot_position, lengths, chunks)

    def write_texts(self, index: int, chunks: Sequence[Chunk]) -> Shard:
        """Write (or write again) what a shard holds before its records are encoded."""
        return self._write(index, None, None, np.array([chunk.tokens for chunk in chunks], dtype=np.int64), chunks)

    def _write(
        self,
        index: int,
        blocks: Iterator[NDArray[Any]] | None,
        slot_position: NDArray[np.uint8] | None,
        lengths: NDArray[np.int64],
        chunks: Sequence[Chunk],
    ) -> Shard:
        rows = self.shard_rows(index)
        if not len(rows) == len(lengths) == len(chunks):
            raise ConfigError(f"The shard has {len(rows)} rows, not {len(lengths)} memories and {len(chunks)} chunks.")
        if not bool(((lengths >= 1) & (lengths <= 255)).all()):
            raise ConfigError(f"Lengths must lie between 1 and 255 tokens, not {int(lengths.min())} to {int(lengths.max())}.")
        ids = np.array([chunk.id for chunk in chunks], dtype=np.int64)
        small = {
            self.layout.file("length", index): partial(self.layout.encode_side, "length", lengths),
            self.layout.file("id", index): partial(self.layout.encode_side, "id", ids),
        }
        if slot_position is not None:
            small[self.layout.file("slot_position", index)] = partial(self.layout.encode_side, "slot_position", slot_position)
        small[f"chunks/{self.name}-{index:05d}.parquet"] = partial(encode_chunks, chunks, rows.start)  # last: it keeps a core busy

        def stored(file: str, encoded: Callable[[], bytes]) -> StoredFile:
            return store(self.place, file, encoded())

        with ThreadPoolExecutor(1) as threads:  # the small files wait for the device beside the large one
            others = [threads.submit(stored, file, encoded) for file, encoded in small.items()]
            kv = None if blocks is None else store_stream(self.place, self.layout.file("kv", index), self.layout.encode_kv(blocks))
            length, identities, *positions, texts = (other.result() for other in others)
        return Shard(
            index=index,
            rows=len(rows),
            first_row=rows.start,
            kv=kv,
            slot_position=positions[0] if positions else None,
            length=length,
            ids=identities,
            chunks=texts,
        )

    def finished(self, shards: Sequence[Shard], metadata: tuple[StoredFile, ...]) -> Generation:
        """The generation of these shards. Raises ConfigError when some are missing or extra."""
        shards = tuple(sorted(shards, key=lambda shard: shard.index))
        expected = [(number, len(self.shard_rows(number))) for number in range(self.shard_count)]
        found = [(shard.index, shard.rows) for shard in shards]
        if found != expected:
            odd = sorted(set(expected) ^ set(found)) or found
            raise ConfigError(
                f"The bank needs shards 0 to {self.shard_count - 1}, each once; these (index, rows) are missing or extra: {odd}."
            )
        return Generation(
            name=self.name,
            rows=self.rows,
            rows_per_shard=self.rows_per_shard,
            shards=shards,
            metadata=metadata,
            on_demand=self.on_demand,
        )


def store_if_other(place: Place, file: str, data: bytes) -> StoredFile:
    """Write a file unless it holds these bytes already."""
    try:
        if place.read(file) == data:
            return describe(file, data)
    except (FileNotFoundError, NotADirectoryError):
        pass
    return store(place, file, data)


def store_if_none(place: Place, file: str, data: bytes) -> StoredFile:
    """Write a file unless there is one, whatever it holds."""
    try:
        return describe(file, place.read(file))
    except (FileNotFoundError, NotADirectoryError):
        return store(place, file, data)
