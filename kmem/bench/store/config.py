"""Every option of the benchmark of the store, with its one default; importable without torch."""

from dataclasses import dataclass, fields

from kmem.arguments import require_count
from kmem.errors import ConfigError

FEW = 5
"""Memories of a small read: what a span of 64 tokens reads (Memory³ §3.3)."""
MANY = 160
"""Memories of a large read: what 32 spans read."""
MIB = 1 << 20
FLOAT16_BYTES = 2
WRITE_SHARDS = 8
"""Shards that are held in memory to be written."""


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """memories, each of 2 · slots · head_dim float16 numbers: 90 KiB unless told otherwise. shard_bytes: payload of a shard.

    rounds: turns of each side at reading five memories; `large_rounds` at reading 160. cold_rounds: reads from the device of each size.
    processes read at once, `process_rounds` times. write_rounds: times that the whole bank, or its first WRITE_SHARDS shards, are written.
    s3_memories in an object store, five of which are read `s3_rounds` times.
    full: also open a bank of `crowd` tiny memories.
    Raises ConfigError for less than 160 memories: the larger reads take that many different ones.
    """

    memories: int = 2000
    slots: int = 360
    head_dim: int = 64
    shard_bytes: int = 64 * MIB
    rounds: int = 300
    cold_rounds: int = 8
    processes: int = 8
    process_rounds: int = 15
    write_rounds: int = 25
    s3_memories: int = 200
    s3_rounds: int = 30
    full: bool = False
    crowd: int = 1_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        for entry in fields(self):
            if entry.name not in ("full", "seed"):
                require_count(getattr(self, entry.name), entry.name)
        if self.s3_memories < FEW:
            raise ConfigError(f"s3_memories must be at least {FEW}, as many as are read at once, not {self.s3_memories}.")
        if self.memories < MANY:
            raise ConfigError(f"memories must be at least {MANY}, as many as the larger reads take, not {self.memories}.")

    @property
    def record_bytes(self) -> int:
        """Payload of one memory."""
        return 2 * self.slots * self.head_dim * FLOAT16_BYTES

    @property
    def shard_rows(self) -> int:
        return max(1, self.shard_bytes // self.record_bytes)

    @property
    def write_memories(self) -> int:
        """Memories of the bank whose writing is timed."""
        return min(self.memories, WRITE_SHARDS * self.shard_rows)

    @property
    def large_rounds(self) -> int:
        """A tenth of `rounds`, at least 2: zarr-python takes a fifth of a second for 160 memories."""
        return max(2, self.rounds // 10)
