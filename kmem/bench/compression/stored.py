"""What a quantiser makes of memories on disk, and how fast it gives them back."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kmem.document import Chunk
from kmem.kstore.bank import open_bank
from kmem.kstore.index.config import IndexConfig
from kmem.kstore.quant import Quantiser
from kmem.kstore.writer import BankWriter
from kmem.memories import Memories
from kmem.paths import ZARR
from kmem.training.passages import Passage

SHARD_ROWS = 64
DECODED = 160
"""Memories of a timed decoding."""
ROUNDS = 7


def stored_sizes(folder: Path, codec: Quantiser, memories: Memories, pool: Sequence[Passage]) -> dict[str, Any]:
    """Write a real bank of them with the texts they are of, and read `record_bytes`, `payload_bytes`, `stored_bytes` and `overhead`."""
    chunks = [
        Chunk(id=row, document_id=row, source="bench", title=passage.title, text=passage.body, start=0, end=len(passage.body), tokens=1)
        for row, passage in enumerate(pool[: len(memories)])
    ]
    writer = BankWriter(folder, memories.spec, codec, len(memories), SHARD_ROWS)
    shards = []
    for index in range(writer.shard_count):
        rows = writer.shard_rows(index)
        shards.append(writer.write_shard(index, memories.take(rows), chunks[rows.start : rows.stop]))
    vectors = np.eye(len(memories), 384, dtype=np.float32)
    writer.commit(shards, writer.write_index(vectors, np.arange(len(memories)), {"name": "none", "dim": 384}, IndexConfig()))
    with open_bank(folder) as bank:
        sizes = bank.sizes()
    zarr_bytes = sum(path.stat().st_size for path in (folder / ZARR).rglob("*") if path.is_file())
    return {
        "record_bytes": sizes.record_bytes,
        "payload_bytes": sizes.payload_bytes,
        "stored_bytes": sizes.stored_bytes,
        "overhead": zarr_bytes / sizes.payload_bytes,
    }


def decode_gb_per_s(codec: Quantiser, memories: Memories) -> float | None:
    """Gigabytes of float16 that one thread decodes a second, the best of several rounds; None where the records are the numbers."""
    records = np.concatenate([codec.encode(memories.kv)] * -(-DECODED // len(memories)))[:DECODED]
    if codec.decode(records).data_ptr() == records.ctypes.data:
        return None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            codec.decode(records)
            times.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return 2e-9 * len(records) * memories.kv[0].numel() / min(times)
