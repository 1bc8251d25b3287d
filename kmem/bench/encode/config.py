"""Every option of the benchmark of encoding, with its one default; importable without torch."""

from dataclasses import dataclass

from kmem.arguments import require_count, require_name
from kmem.encoder.defaults import AUTO, BATCH_SIZE


@dataclass(frozen=True, kw_only=True)
class EncodeConfig:
    """rounds: turns of every side. chunks: the first so many of the corpus are encoded, `batch_size` a forward pass, under this profile."""

    rounds: int = 7
    chunks: int = 128
    corpus: str = "corpus:foldoc"
    profile: str = AUTO
    batch_size: int = BATCH_SIZE

    def __post_init__(self) -> None:
        for name in ("rounds", "chunks", "batch_size"):
            require_count(getattr(self, name), name)
        for name in ("corpus", "profile"):
            require_name(getattr(self, name), name)
