"""Every option of a benchmark, with its one default; importable without torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """articles: how many FOLDOC articles, after shuffling with `seed`; profiles: besides the dense one."""

    articles: int = 32
    seed: int = 0
    profiles: tuple[str, ...] = ("smollm2-720", "uniform8")
