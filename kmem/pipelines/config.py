"""Every option of a build, with its one default."""

from dataclasses import asdict, dataclass
from typing import Any

from kmem.arguments import require_count, require_name
from kmem.encoder.defaults import AUTO, BATCH_SIZE, DEVICE, SMOLLM2
from kmem.errors import ConfigError
from kmem.kstore.defaults import SHARD_BYTES
from kmem.kstore.index.factory import AUTO as AUTO_INDEX
from kmem.kstore.index.factory import require_factory

WORDS_ALONE = "bm25"
"""The embedder without vectors."""


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """How to turn sources into a bank.

    profile: a shipped name (`smollm2-720`), `memory3`, `uniform8`, the path of a profile's JSON file, or `auto`: `smollm2-720` where the
    model has its shape, else `uniform8`. selector: overrides the profile's.
    embedder: a retriever by name (kstore/index/retrievers.py). query_prefix, passage_prefix: what a sentence-transformers model wants
    before each, None = what it declares itself.
    index: `auto`, by the number of rows, or a FAISS factory string: `Flat`, `IVF1024,Flat`, `IVF1024,PQ48[,RFlat]`, `HNSW32`.
    dtype: precision the model encodes in; `auto` is bfloat16 where the processor has it, else float32. limit: chunks at most, None = all.
    shard_bytes: payload of a shard, the unit of writing and of resuming. shard_rows: the same in rows; overrides shard_bytes.
    encode: False writes texts and index only; a memory is encoded when it is first read, or by `kmem encode`. `auto` is float32 then,
    the precision that generating starts from.
    """

    model: str = SMOLLM2
    profile: str = AUTO
    selector: str | None = None
    quantiser: str = "int8"
    embedder: str = "minilm"
    query_prefix: str | None = None
    passage_prefix: str | None = None
    index: str = AUTO_INDEX
    dtype: str = "auto"
    device: str = DEVICE
    limit: int | None = None
    batch_size: int = BATCH_SIZE
    shard_bytes: int = SHARD_BYTES
    shard_rows: int | None = None
    encode: bool = True

    def __post_init__(self) -> None:
        for name in ("limit", "batch_size", "shard_bytes", "shard_rows"):
            if getattr(self, name) is not None:
                require_count(getattr(self, name), name)
        for name in ("model", "profile", "quantiser", "embedder", "index", "dtype", "device"):
            require_name(getattr(self, name), name)
        require_factory(self.index)
        if self.embedder == WORDS_ALONE and self.index != AUTO_INDEX:
            raise ConfigError(f"Embedder {WORDS_ALONE!r} has no vectors for an index {self.index!r}: leave --index out.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class AppendConfig:
    """How to add to a bank, which settles the rest.

    model: where the bank's model is now, None = where it was when the bank was built. The other fields as in BuildConfig; without
    `encode` the new memories are encoded on demand.
    """

    model: str | None = None
    device: str = DEVICE
    limit: int | None = None
    batch_size: int = BATCH_SIZE
    shard_bytes: int = SHARD_BYTES
    encode: bool = True

    def __post_init__(self) -> None:
        for name in ("limit", "batch_size", "shard_bytes"):
            if getattr(self, name) is not None:
                require_count(getattr(self, name), name)
        require_name(self.device, "device")
