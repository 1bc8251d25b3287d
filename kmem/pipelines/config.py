"""Every option of a build, with its one default."""

from dataclasses import asdict, dataclass, field
from typing import Any

from kmem.arguments import require_count, require_name
from kmem.encoder.defaults import AUTO, BATCH_SIZE, DEVICE, SMOLLM2
from kmem.errors import ConfigError
from kmem.kbuild.chunker import ChunkerConfig
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.language import LanguagesConfig
from kmem.kbuild.readers.config import ReadConfig
from kmem.kbuild.rules.config import RulesConfig
from kmem.kstore.defaults import SHARD_BYTES
from kmem.kstore.index.factory import AUTO as AUTO_INDEX
from kmem.kstore.index.factory import TARGET_RECALL, require_factory, require_target
from kmem.pipelines.partitions import PARTITION_BYTES

WORDS_ALONE = "bm25"
"""The embedder without vectors."""


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """scorer: a shipped one (`general`) or the folder that `kmem quality train` wrote; None scores nothing. minimum: of a document's score,
    between 0 and 1.
    """

    scorer: str | None = None
    minimum: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= 1:
            raise ConfigError(f"quality.minimum is {self.minimum}; a score lies between 0 and 1.")


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """How to turn sources into a bank.

    profile: a shipped name (`smollm2-720`), `memory3`, `uniform8`, the path of a profile's JSON file, or `auto`: the shipped
    one with most slots for the model's shape, else `uniform8`. selector: overrides the profile's.
    embedder: a retriever by name (kstore/index/retrievers.py). query_prefix, passage_prefix: what a sentence-transformers model wants
    before each, None = what it declares itself.
    index: `auto`, by the number of rows, or a FAISS factory string: `Flat`, `IVF1024,Flat`, `IVF1024,PQ48[,RFlat]`, `HNSW32`.
    target_recall: share of the five nearest that a search of an index which isn't exact is tuned to find.
    dtype: precision the model encodes in; `auto` is bfloat16 where the processor has it, else float32. limit: chunks at most, None = all.
    shard_bytes: payload of a shard, the unit of writing and of resuming. shard_rows: the same in rows; overrides shard_bytes.
    encode: False writes texts and index only; a memory is encoded when it is first read, or by `kmem encode`. `auto` is float32 then,
    the precision that generating starts from.
    read, rules, languages, dedup, quality, chunk: how sources are read, which documents are dropped, what counts as a copy of an earlier
    one, how good a document must be, and how documents are cut; `dedup_chunks` is `dedup` for chunks.
    """

    model: str = SMOLLM2
    profile: str = AUTO
    selector: str | None = None
    quantiser: str = "int8"
    embedder: str = "minilm"
    query_prefix: str | None = None
    passage_prefix: str | None = None
    index: str = AUTO_INDEX
    target_recall: float = TARGET_RECALL
    dtype: str = "auto"
    device: str = DEVICE
    limit: int | None = None
    batch_size: int = BATCH_SIZE
    shard_bytes: int = SHARD_BYTES
    shard_rows: int | None = None
    encode: bool = True
    read: ReadConfig = field(default_factory=ReadConfig)
    rules: RulesConfig = field(default_factory=RulesConfig)
    languages: LanguagesConfig = field(default_factory=LanguagesConfig)
    dedup: DedupConfig = field(default_factory=DedupConfig)
    dedup_chunks: DedupConfig = field(default_factory=DedupConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    chunk: ChunkerConfig = field(default_factory=ChunkerConfig)

    def __post_init__(self) -> None:
        for name in ("limit", "batch_size", "shard_bytes", "shard_rows"):
            if getattr(self, name) is not None:
                require_count(getattr(self, name), name)
        for name in ("model", "profile", "quantiser", "embedder", "index", "dtype", "device"):
            require_name(getattr(self, name), name)
        if self.selector is not None:
            require_name(self.selector, "selector")
        require_factory(self.index)
        require_target(self.target_recall)
        if self.embedder == WORDS_ALONE and self.index != AUTO_INDEX:
            raise ConfigError(f"Embedder {WORDS_ALONE!r} has no vectors for an index {self.index!r}: leave --index out.")
        if self.embedder == WORDS_ALONE and self.target_recall != TARGET_RECALL:
            raise ConfigError(f"Embedder {WORDS_ALONE!r} finds every text that shares a word: leave --target-recall out.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"rules": self.rules.to_dict()}


_NONE = DedupConfig(mode="none")
EARLIER_TEXT: dict[str, Any] = {
    "read": asdict(ReadConfig()),
    "rules": RulesConfig(preset="none").to_dict(),
    "languages": {**asdict(LanguagesConfig()), "keep": []},
    "dedup": asdict(_NONE),
    "dedup_chunks": asdict(_NONE),
    "quality": asdict(QualityConfig()),
    "chunk": asdict(ChunkerConfig()),
}
"""What builds did before these could be chosen."""


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """Where a build runs; the bank doesn't depend on it.

    workers: processes of this machine, None = this process with all its threads. threads_per_worker: tasks that run at once in each.
    scheduler: address of a Dask cluster that is there, `tcp://HOST:8786`. attempts: how often a task is tried before the document that
    makes it fail is looked for. partition_bytes: of text that one task reads.
    """

    workers: int | None = None
    threads_per_worker: int = 1
    scheduler: str | None = None
    attempts: int = 2
    partition_bytes: int = PARTITION_BYTES

    def __post_init__(self) -> None:
        for name in ("threads_per_worker", "attempts", "partition_bytes"):
            require_count(getattr(self, name), name)
        if self.workers is not None:
            require_count(self.workers, "workers")
        if self.scheduler is not None:
            require_name(self.scheduler, "scheduler")
            if self.workers is not None:
                raise ConfigError(
                    "executor.workers and executor.scheduler exclude each other: a cluster that is there has its own workers."
                )


@dataclass(frozen=True, kw_only=True)
class AppendConfig:
    """How to add to a bank, which settles the rest.

    model: where the bank's model is now, None = where it was when the bank was built. compare: whether copies of texts that the bank holds
    are dropped as its build drops copies; None = in a bank of at most 2 million memories, since all of its texts are read for it.
    The other fields as in BuildConfig; without `encode` the new memories are encoded on demand.
    """

    model: str | None = None
    device: str = DEVICE
    limit: int | None = None
    batch_size: int = BATCH_SIZE
    shard_bytes: int = SHARD_BYTES
    encode: bool = True
    compare: bool | None = None

    def __post_init__(self) -> None:
        for name in ("limit", "batch_size", "shard_bytes"):
            if getattr(self, name) is not None:
                require_count(getattr(self, name), name)
        require_name(self.device, "device")
        if self.model is not None:
            require_name(self.model, "model")
