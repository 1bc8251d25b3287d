"""Several processes write the shards of one bank, each its own, with no lock between them."""

import json
import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np

from kmem.kstore.manifest import Shard
from kmem.kstore.quant import quantiser
from kmem.kstore.verify import verify
from kmem.kstore.writer import BankWriter
from tests.kstore.kit import NgramEmbedder, contents, tiny_chunks, tiny_memories, tiny_spec, write_bank

COUNT, ROWS_PER_SHARD, WRITERS = 15, 2, 2


def writer(path: Path) -> BankWriter:
    return BankWriter(path, tiny_spec(), quantiser("fp16"), COUNT, ROWS_PER_SHARD)


def write_some(path: Path, receipts: Path, number: int, together: Barrier) -> None:
    """Every WRITERS-th shard, from `number` on; a receipt each."""
    chunks = tiny_chunks(COUNT)
    together.wait(60)
    bank = writer(path)  # claims the place and writes the metadata, as the others do now
    for index in range(number, bank.shard_count, WRITERS):
        part = [chunks[row] for row in bank.shard_rows(index)]
        shard = bank.write_shard(index, tiny_memories(bank.spec, part), part)
        (receipts / f"{index}.json").write_text(json.dumps(shard.to_dict()))


def test_processes_write_the_bytes_that_one_writes(tmp_path: Path) -> None:
    write_bank(tmp_path / "one", count=COUNT, rows_per_shard=ROWS_PER_SHARD)
    (tmp_path / "receipts").mkdir()
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(WRITERS)
    children = [
        spawn.Process(target=write_some, args=(tmp_path / "many", tmp_path / "receipts", number, together)) for number in range(WRITERS)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * WRITERS
    bank, chunks, embedder = writer(tmp_path / "many"), tiny_chunks(COUNT), NgramEmbedder()
    vectors = embedder.embed([chunk.reference for chunk in chunks])
    index = bank.write_index(vectors, np.array([chunk.id for chunk in chunks]), embedder.identity())
    bank.commit([Shard.from_dict(json.loads(receipt.read_text())) for receipt in (tmp_path / "receipts").iterdir()], index)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert verify(tmp_path / "many", deep=True)["memories_read"] == COUNT
