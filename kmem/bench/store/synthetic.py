"""A bank of random numbers, and the same records in one plain .npy file: real files of a real writer, only the numbers mean nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kmem.document import Chunk
from kmem.identity import Identity, content_id
from kmem.kstore.index.config import IndexConfig
from kmem.kstore.manifest import Shard
from kmem.kstore.quant import quantiser
from kmem.kstore.writer import BankWriter
from kmem.memories import Memories, MemorySpec
from kmem.profile import SPAN_TOKENS, Profile

WORDS = 100
"""Words of a synthetic text: about as many as a chunk of 128 tokens has."""
DIM = 8
"""Dimensions of the search index."""
HEAD_SLOTS = 120


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The same N records twice: in the bank in the folder `bank`, under `ids`, and in the .npy file `plain`, [N, *record_shape]."""

    bank: Path
    plain: Path
    ids: tuple[int, ...]
    record_shape: tuple[int, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of both."""
        return (self.plain, *(path for path in sorted(self.bank.rglob("*")) if path.is_file()))


def make_stored(folder: Path, *, memories: int, slots: int, head_dim: int, shard_rows: int, seed: int) -> Stored:
    """Write both into `folder`, which must be new or empty. Raises what BankWriter raises."""
    writer = new_writer(folder / "bank", memories=memories, slots=slots, head_dim=head_dim, shard_rows=shard_rows)
    plain = folder / "plain.npy"
    copy = np.lib.format.open_memmap(plain, mode="w+", dtype=np.dtype("<f2"), shape=(memories, 2, slots, head_dim))
    shards, ids = [], []
    for number, (records, chunks) in enumerate(synthetic_shards(writer, seed)):
        shards.append(writer.write_shard(number, as_memories(records, chunks, writer.spec), chunks))
        rows = writer.shard_rows(number)
        copy[rows.start : rows.stop] = records
        ids += [chunk.id for chunk in chunks]
    copy.flush()
    commit(writer, shards, ids)
    return Stored(bank=folder / "bank", plain=plain, ids=tuple(ids), record_shape=(2, slots, head_dim))


def new_writer(path: str | Path, *, memories: int, slots: int, head_dim: int, shard_rows: int) -> BankWriter:
    """A writer of float16 memories with `slots` slots, as few heads as hold them at 120 each."""
    heads = -(-slots // HEAD_SLOTS)
    budget = tuple(slots // heads + (head < slots % heads) for head in range(heads))
    profile = Profile(name="synthetic", budget=(budget,))
    words = {name: "synthetic" for name in ("model", "architecture", "weights", "tokenizer", "bracket", "budget", "selector")}
    bracket = torch.zeros(1, 2, heads, 1, head_dim)
    spec = MemorySpec(profile=profile, identity=Identity.from_dict(words), bracket=bracket, head_dim=head_dim)
    return BankWriter(path, spec, quantiser("fp16"), memories, shard_rows)


def synthetic_shards(writer: BankWriter, seed: int, *, words: int = WORDS) -> Iterator[tuple[NDArray[np.float16], list[Chunk]]]:
    """Records [n, 2, S, D] and chunks of each shard, which depend on seed and shard alone."""
    slots, head_dim = writer.spec.profile.slots, writer.spec.head_dim
    for number in range(writer.shard_count):
        rows = writer.shard_rows(number)
        generator = np.random.default_rng([seed, number])
        records = generator.standard_normal((len(rows), 2, slots, head_dim), dtype=np.float32).astype(np.float16)
        yield records, [_chunk(row, " ".join(map(str, generator.integers(0, 10_000, words)))) for row in rows]


def as_memories(records: NDArray[np.float16], chunks: list[Chunk], spec: MemorySpec) -> Memories:
    """Memories of these records, full of tokens."""
    count, slots = len(records), spec.profile.slots
    return Memories(
        kv=torch.from_numpy(records),
        slot_position=(torch.arange(slots) % HEAD_SLOTS).to(torch.uint8).expand(count, slots),
        lengths=torch.full((count,), SPAN_TOKENS),
        ids=tuple(chunk.id for chunk in chunks),
        spec=spec,
    )


def commit(writer: BankWriter, shards: list[Shard], ids: list[int]) -> None:
    """Make it a bank, with an exact index of vectors that nobody searches."""
    vectors = np.zeros((len(ids), DIM), dtype=np.float32)
    vectors[:, 0] = 1
    exact = IndexConfig(flat_below=len(ids) + 1)
    record = writer.write_index(vectors, np.array(ids, dtype=np.int64), {"name": "synthetic", "dim": DIM}, exact)
    writer.commit(shards, record)


def _chunk(row: int, text: str) -> Chunk:
    memory_id = content_id("synthetic", row)
    return Chunk(id=memory_id, document_id=row, source=f"synthetic#{row}", title="", text=text, start=0, end=len(text), tokens=SPAN_TOKENS)
