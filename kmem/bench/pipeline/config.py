"""Every option of the benchmark of the pipeline, with its one default; importable without torch."""

from dataclasses import dataclass

from kmem.arguments import require_count
from kmem.errors import ConfigError

PLANT_WORDS = 60
"""Words of a document at least that copies are made of: 5% of fewer are one word or two."""
PARAGRAPH_WORDS = 20
"""Words of a paragraph at least, on average, where paragraphs change places."""
EDITED = 0.05


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """documents: how many, of which 3 · planted are copies of others: exact, edited (5% of the words) and reordered (their paragraphs).

    partitions: the documents are dealt out over. corpora: where they come from; every second one is without its title.
    megabytes of text for the rates of the stages, `rounds` times, as are builds by one worker process and by two, which encode about
    `encoded` chunks; 0 starts no workers. chunks: sizes, ascending, at which the cost of a chunk is measured.
    """

    corpora: tuple[str, ...] = ("corpus:foldoc", "corpus:vital-articles", "corpus:chinese-law")
    documents: int = 20_000
    planted: int = 600
    partitions: int = 16
    megabytes: int = 16
    rounds: int = 3
    encoded: int = 384
    chunks: tuple[int, ...] = (1_000, 10_000, 100_000)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("documents", "planted", "partitions", "megabytes", "rounds"):
            require_count(getattr(self, name), name)
        if self.encoded:
            require_count(self.encoded, "encoded")
        for count in self.chunks:
            require_count(count, "chunks")
        if len(self.chunks) < 2 or sorted(set(self.chunks)) != list(self.chunks):
            raise ConfigError(f"chunks are {list(self.chunks)}; give two sizes or more, ascending.")
        if self.documents < 6 * self.planted:
            raise ConfigError(f"{self.documents} documents can't hold 3 × {self.planted} copies and as many to copy: give more documents.")
