"""What a durable shard with its checksums costs, against the same number of bytes written plainly into one file and flushed."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kmem.bench.store.config import StoreConfig
from kmem.bench.store.reads import Tick
from kmem.bench.store.synthetic import as_memories, new_writer, synthetic_shards


def time_writes(config: StoreConfig, folder: Path, tick: Tick = lambda done: None) -> dict[str, list[float]]:
    """Seconds a byte of every shard of `write_rounds` banks, `kmem`, and of a file of that many bytes each, `sequential`.

    The two take turns, the first of them alternating. A shard is all its files: records, positions, lengths and texts.
    """
    pace: dict[str, list[float]] = {"kmem": [], "sequential": []}
    for number in range(config.write_rounds):
        bank, plain = folder / f"written-{number}", folder / f"written-{number}.bin"
        writer = new_writer(bank, memories=config.memories, slots=config.slots, head_dim=config.head_dim, shard_rows=config.shard_rows)
        for index, (records, chunks) in enumerate(synthetic_shards(writer, config.seed)):
            memories = as_memories(records, chunks, writer.spec)
            if (number + index) % 2:
                pace["sequential"].append(_write_plainly(plain, records))
            start = time.perf_counter()
            shard = writer.write_shard(index, memories, chunks)
            seconds = time.perf_counter() - start
            pace["kmem"].append(seconds / sum(file.size_bytes for file in shard.files))
            if not (number + index) % 2:
                pace["sequential"].append(_write_plainly(plain, records))
        shutil.rmtree(bank)
        tick(1)
    return pace


def _write_plainly(path: Path, records: NDArray[np.float16]) -> float:
    """Seconds a byte of writing a new file and flushing it to the device."""
    start = time.perf_counter()
    with path.open("xb") as file:
        file.write(records.data)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return seconds / records.nbytes
