"""Every option of a benchmark, with its one default; importable without torch."""

from dataclasses import dataclass

from kmem.arguments import require_count, require_name


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """corpus: whose held-out passages are asked about, `articles` of them. profiles: the first is also read among five and retrieved.

    pool: memories that retrieval chooses from. full: every selector at equal bytes, too. questions: a JSONL file of `question`, `answer`
    and `context`.
    """

    corpus: str = "corpus:foldoc"
    articles: int = 64
    profiles: tuple[str, ...] = ("smollm2-720", "smollm2-360")
    pool: int = 1000
    full: bool = False
    questions: str | None = None

    def __post_init__(self) -> None:
        require_count(self.articles, "articles")
        require_count(self.pool, "pool")
        require_name(self.corpus, "corpus")
