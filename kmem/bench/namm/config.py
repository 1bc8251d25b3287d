"""Every option of the benchmark of policies, with its one default; importable without torch."""

from dataclasses import dataclass, field

from kmem.arguments import require_count, require_name
from kmem.errors import ConfigError
from kmem.training.namm.recipe import TasksConfig

NAMM = "smollm2"
"""The shipped one."""
RANKING = ("recency", "h2o", "l2")
"""Policies that need to be told a size."""


@dataclass(frozen=True, kw_only=True)
class NammBenchConfig:
    """namm: a shipped one, or a file. tasks: their documents' other part, that nothing was learnt from, and `tasks.prompts` of each.

    shares: of the cache, that every policy is also asked to keep, for the curve, on `curve_prompts` of each task. kinds: prompts of mixed
    text, to see what is forgotten. cost_tokens: of the prompt on which scoring is timed. attached: questions to five memories each. 0 of
    the last three: none.
    """

    namm: str = NAMM
    tasks: TasksConfig = field(default_factory=lambda: TasksConfig(tokens=(1120, 1632, 2144), prompts=8))
    shares: tuple[float, ...] = (0.125, 0.25, 0.5)
    curve_prompts: int = 2
    kinds: int = 4
    cost_tokens: int = 4096
    attached: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        require_name(self.namm, "namm")
        for name in ("kinds", "cost_tokens", "attached"):
            require_count(getattr(self, name), name, least=0)
        require_count(self.curve_prompts, "curve_prompts")
        require_count(self.seed, "seed", least=0)
        if not all(0 < share < 1 for share in self.shares):
            raise ConfigError(f"shares must lie between 0 and 1, not {self.shares}.")
