"""Opening a bank of very many tiny memories: its time and memory must not grow with every row."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from kmem.bench.store.config import StoreConfig
from kmem.bench.store.reads import Tick
from kmem.bench.store.synthetic import as_memories, commit, new_writer, synthetic_shards

SLOTS, HEAD_DIM = 1, 8
SHARD_ROWS = 65_536


def measure_crowd(config: StoreConfig, folder: Path, tick: Tick = lambda done: None) -> dict[str, Any]:
    """`open_s` and `open_rss_bytes` of opening a bank of `config.crowd` memories and reading one of them, in a new process."""
    bank = folder / "crowd"
    writer = new_writer(bank, memories=config.crowd, slots=SLOTS, head_dim=HEAD_DIM, shard_rows=SHARD_ROWS)
    shards, ids = [], []
    for number, (records, chunks) in enumerate(synthetic_shards(writer, config.seed, words=2)):
        shards.append(writer.write_shard(number, as_memories(records, chunks, writer.spec), chunks))
        ids += [chunk.id for chunk in chunks]
        tick(len(chunks))
    commit(writer, shards, ids)
    command = [sys.executable, "-m", "kmem.bench.store.opened", str(bank), str(ids[len(ids) // 2])]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"crowd": config.crowd, **found}
