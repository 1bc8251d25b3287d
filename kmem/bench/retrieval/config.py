"""Every option of the benchmark of retrieval, with its one default; importable without torch."""

from dataclasses import dataclass

from kmem.arguments import require_count, require_name
from kmem.errors import ConfigError
from kmem.kbuild.foldoc import FOLDOC

VITAL, LAW = "corpus:vital-articles", "corpus:chinese-law"
ENGLISH = ("minilm", "bm25", "hybrid", "hidden")
CHINESE = (*ENGLISH, "multilingual", "hybrid:multilingual")
POOL, OTHER_POOL = 15_000, 5_000
"""Of FOLDOC, all of it, and of the others: embedding them is what takes long."""


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """corpora: files, folders, globs or corpus:NAME, each asked `questions` times over at most `pool` chunks, None for
    POOL of FOLDOC and OTHER_POOL of the others.

    retrievers: by name, None for the built-in ones. full: FOLDOC's harder questions and an index of `index_rows` vectors, too.
    seed: which articles and sentences.
    """

    corpora: tuple[str, ...] = (FOLDOC, VITAL, LAW)
    retrievers: tuple[str, ...] | None = None
    questions: int = 500
    pool: int | None = None
    full: bool = False
    index_rows: int = 1_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("questions", "pool", "index_rows"):
            if getattr(self, name) is not None:
                require_count(getattr(self, name), name)
        require_count(self.seed, "seed", least=0)
        for name in ("corpora", "retrievers"):
            values = getattr(self, name)
            if values is not None and not values:
                raise ConfigError(f"{name} is empty; name at least one.")
            for value in values or ():
                require_name(value, name)

    def pool_of(self, corpus: str) -> int:
        """Chunks of a corpus that are searched, at most."""
        if self.pool is not None:
            return self.pool
        return POOL if corpus == FOLDOC else OTHER_POOL

    def retrievers_of(self, corpus: str) -> tuple[str, ...]:
        """Those to measure on a corpus, each once."""
        built_in = CHINESE if corpus == LAW else ENGLISH
        return tuple(dict.fromkeys(built_in if self.retrievers is None else self.retrievers))
