"""How a model reads and answers unless told otherwise; importable without torch."""

from dataclasses import dataclass

from kmem.errors import ConfigError
from kmem.kstore.defaults import TOP_K

EVERY_TOKENS = 64
"""Tokens between two retrievals (Memory³ §3.3)."""


@dataclass(frozen=True, kw_only=True)
class AnswerConfig:
    """Length, cadence of reading and template of an answer; `every=None` retrieves once."""

    max_new_tokens: int = 64
    top_k: int = TOP_K
    every: int | None = EVERY_TOKENS
    template: str = "Question: {prompt}\nAnswer:"

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "top_k"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.every is not None and self.every < 1:
            raise ConfigError(f"every must be at least 1 token, or None (--every 0) to retrieve once, not {self.every}.")
        if "{prompt}" not in self.template:
            raise ConfigError(f"The template {self.template!r} has no {{prompt}} in it.")
