"""Every option of a benchmark, with its one default; importable without torch."""

from dataclasses import dataclass

from kmem.arguments import require_count, require_name
from kmem.errors import ConfigError

DEVELOPMENT = 64
"""Held-out passages that no figure is about, because they were looked at while settings of kmem were chosen; a small corpus skips fewer."""


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """corpus: whose held-out passages are asked about, `articles` of them after the first DEVELOPMENT.

    profiles: names or files, None for those that are shipped for the model, else `auto`; the first is also read among five and retrieved.
    pool: memories that retrieval chooses from. selectors: these at equal bytes, and nothing else. full: every selector, too. questions: a
    JSONL file of `question`, `answer` and `context`.
    """

    corpus: str = "corpus:foldoc"
    articles: int = 64
    profiles: tuple[str, ...] | None = None
    pool: int = 1000
    selectors: tuple[str, ...] = ()
    full: bool = False
    questions: str | None = None

    def __post_init__(self) -> None:
        require_count(self.articles, "articles")
        require_count(self.pool, "pool")
        require_name(self.corpus, "corpus")
        if self.profiles is not None and not self.profiles:
            raise ConfigError("profiles is empty; name at least one, or None for those that are shipped for the model.")
        if self.selectors and self.full:
            raise ConfigError("selectors measures those alone, full measures everything: give one of them.")


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """adapter: what `kmem train memory` wrote. corpus, articles: as QualityConfig's. profiles: None for the one it was trained for.

    other: a corpus whose held-out texts, the first `texts` of them, say what the adapter costs where nothing is remembered.
    """

    adapter: str
    corpus: str = QualityConfig.corpus
    articles: int = QualityConfig.articles
    profiles: tuple[str, ...] | None = None
    other: str = "corpus:vital-articles"
    texts: int = 64

    def __post_init__(self) -> None:
        require_count(self.articles, "articles")
        require_count(self.texts, "texts")
        for name in ("adapter", "corpus", "other"):
            require_name(getattr(self, name), name)
