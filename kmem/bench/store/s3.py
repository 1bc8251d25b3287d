"""The same bank in an object store: how many requests it costs to write, to open and to read five memories, and how many bytes."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kmem.bench.store.config import FEW, StoreConfig
from kmem.bench.store.counted import Traffic, counted_store
from kmem.bench.store.reads import Tick
from kmem.bench.store.synthetic import as_memories, commit, new_writer, synthetic_shards
from kmem.bench.store.timing import p50
from kmem.errors import CorruptBankError
from kmem.kstore.bank import Bank, open_bank

SHARDS = 5


def measure_s3(config: StoreConfig, folder: Path, tick: Tick = lambda done: None) -> dict[str, Any]:
    """The `s3.…` figures of a bank of `config.s3_memories` memories; its local twin is written below `folder`.

    read5 is `config.s3_rounds` reads of five random memories as generation reads them: the most requests that one took, the bytes of all
    answers over those of the keys and values, the median time (moto's server is Python, and shares the processor). first_read_requests:
    what the first memory costs, with the ids of all shards and the bracket, which are kept.
    Raises CorruptBankError when an answer is not that of the twin.
    """
    with counted_store() as (bucket, traffic):
        url = f"{bucket}/bank"
        ids = _write(config, folder / "s3-twin")
        if _write(config, url) != ids:
            raise CorruptBankError(f"{url} was given other ids than {folder / 's3-twin'}: look for the fault first.")
        figures: dict[str, Any] = {"s3.write_requests": traffic.requests}
        traffic.reset()
        with open_bank(url) as remote, open_bank(folder / "s3-twin") as local:
            figures["s3.open_requests"] = traffic.requests
            traffic.reset()
            remote.read(ids[:1], positions=False)
            figures["s3.first_read_requests"] = traffic.requests
            return figures | _reads(config, remote, local, ids, traffic, tick)


def _reads(config: StoreConfig, remote: Bank, local: Bank, ids: list[int], traffic: Traffic, tick: Tick) -> dict[str, Any]:
    generator = np.random.default_rng(config.seed)
    requests, body_bytes, times = [], 0, []
    for _ in range(config.s3_rounds):
        picked = [ids[row] for row in generator.choice(len(ids), FEW, replace=False)]
        traffic.reset()
        start = time.perf_counter()
        found = remote.read(picked, positions=False)
        times.append(time.perf_counter() - start)
        requests.append(traffic.requests)
        body_bytes += traffic.body_bytes
        if not torch.equal(found.kv, local.read(picked, positions=False).kv) or remote.chunks(picked) != local.chunks(picked):
            raise CorruptBankError(f"{remote.place} and {local.place} differ at one of the memories {picked}: look for the fault first.")
        tick(1)
    return {
        "s3.read5_requests": max(requests),
        "s3.read5_bytes_over_payload": body_bytes / (config.s3_rounds * FEW * config.record_bytes),
        "s3.read5_p50_s": p50(times),
    }


def _write(config: StoreConfig, path: str | Path) -> list[int]:
    """A bank in SHARDS shards → its ids."""
    shard_rows = -(-config.s3_memories // SHARDS)
    writer = new_writer(path, memories=config.s3_memories, slots=config.slots, head_dim=config.head_dim, shard_rows=shard_rows)
    shards, ids = [], []
    for number, (records, chunks) in enumerate(synthetic_shards(writer, config.seed)):
        shards.append(writer.write_shard(number, as_memories(records, chunks, writer.spec), chunks))
        ids += [chunk.id for chunk in chunks]
    commit(writer, shards, ids)
    return ids
