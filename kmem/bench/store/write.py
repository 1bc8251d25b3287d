"""What writing a bank's shards until they are durable costs, against writing as many bytes plainly and flushing them."""

import os
import shutil
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from typing_extensions import Buffer

from kmem.bench.store.config import StoreConfig
from kmem.bench.store.reads import Tick
from kmem.bench.store.synthetic import as_memories, new_writer, synthetic_shards
from kmem.document import Chunk
from kmem.kstore.generation import GenerationWriter
from kmem.kstore.manifest import Shard
from kmem.kstore.stream import COPIES_AT_ONCE, write_streamed
from kmem.memories import Memories

Held = Sequence[tuple[Memories, list[Chunk]]]
"""What each shard is to hold, in memory."""


def time_writes(config: StoreConfig, folder: Path, tick: Tick = lambda done: None) -> dict[str, list[float]]:
    """Seconds a byte of writing the same memories, held in RAM, in several ways, `write_rounds` times each; all end on the device.

    stream: all shards, as compacting and merging write them; a shard is all its files: records, positions, lengths, ids and texts.
    sequential: one plain file of as many bytes, flushed once. files: a plain file of as many bytes a shard, each flushed.
    shard, file: each shard and each of those files by itself, in turns.
    """
    writer = new_writer(folder / "held", memories=config.write_memories, **_shape(config))
    held = [(as_memories(records, chunks, writer.spec), chunks) for records, chunks in synthetic_shards(writer, config.seed)]
    sizes = [_bytes_of(shard) for shard in _stream(writer.generation, held)]  # not timed: what is done once in a process is done now
    shutil.rmtree(folder / "held")
    pace: dict[str, list[float]] = {name: [] for name in ("stream", "sequential", "files", "shard", "file")}
    for number in range(config.write_rounds):
        alone, plain = _time_each(config, folder, held, sizes, plain_first=bool(number % 2))
        pace["shard"] += [seconds / size for seconds, size in zip(alone, sizes, strict=True)]
        pace["file"] += [seconds / size for seconds, size in zip(plain, sizes, strict=True)]
        pace["files"].append(sum(plain) / sum(sizes))
        for name in ("sequential", "stream") if number % 2 else ("stream", "sequential"):
            seconds = _time_stream(config, folder, held) if name == "stream" else _time_plain(folder, held, sizes)
            pace[name].append(seconds / sum(sizes))
        tick(1)
    return pace


def _time_each(
    config: StoreConfig, folder: Path, held: Held, sizes: Sequence[int], *, plain_first: bool
) -> tuple[list[float], list[float]]:
    """Seconds of each shard, and of a plain file of as many bytes, turn by turn."""
    writer = new_writer(folder / "bank", memories=config.write_memories, **_shape(config))
    alone: list[float] = []
    plain: list[float] = []
    for index, (memories, chunks) in enumerate(held):
        if (index % 2 == 0) == plain_first:
            plain.append(_time_plain(folder, held[index : index + 1], sizes[index : index + 1]))
        start = time.perf_counter()
        writer.write_shard(index, memories, chunks)
        alone.append(time.perf_counter() - start)
        if len(plain) == index:
            plain.append(_time_plain(folder, held[index : index + 1], sizes[index : index + 1]))
    shutil.rmtree(folder / "bank")
    return alone, plain


def _time_stream(config: StoreConfig, folder: Path, held: Held) -> float:
    writer = new_writer(folder / "bank", memories=config.write_memories, **_shape(config))
    start = time.perf_counter()
    _stream(writer.generation, held)
    seconds = time.perf_counter() - start
    shutil.rmtree(folder / "bank")
    return seconds


def _stream(writer: GenerationWriter, held: Held) -> list[Shard]:
    writes = (partial(writer.write_shard, index, memories, chunks) for index, (memories, chunks) in enumerate(held))
    return write_streamed(writes, at_once=COPIES_AT_ONCE)


def _time_plain(folder: Path, held: Held, sizes: Iterable[int]) -> float:
    """A new file of all these bytes: of every shard its records, and zeros in place of what else it holds."""
    pieces: list[Buffer] = []
    for (memories, _), size in zip(held, sizes, strict=True):
        records = memories.kv.numpy()
        pieces += [records.data, bytes(size - records.nbytes)]
    start = time.perf_counter()
    with (folder / "plain.bin").open("xb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    (folder / "plain.bin").unlink()
    return seconds


def _bytes_of(shard: Shard) -> int:
    return sum(file.size_bytes for file in shard.files)


def _shape(config: StoreConfig) -> dict[str, int]:
    return {"slots": config.slots, "head_dim": config.head_dim, "shard_rows": config.shard_rows}
