"""Every option of the benchmark, with its one default; importable without torch."""

from dataclasses import dataclass

from kmem.arguments import require_count, require_name
from kmem.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CompressionConfig:
    """corpus: documents whose held-out ones are asked about (`articles` of them), and others trained on (`learning` of them).

    within: how much of fp16's share the default quantiser may lose.
    """

    corpus: str = "corpus:foldoc"
    profile: str = "smollm2-720"
    articles: int = 64
    learning: int = 400
    within: float = 0.03
    quantisers: tuple[str, ...] = ("fp32", "fp16", "bf16", "int8", "vq")

    def __post_init__(self) -> None:
        require_count(self.articles, "articles")
        require_count(self.learning, "learning")
        require_name(self.corpus, "corpus")
        require_name(self.profile, "profile")
        if not 0 <= self.within <= 1:
            raise ConfigError(f"within must lie between 0 and 1, not {self.within:g}.")
