"""How a model reads and answers unless told otherwise; importable without torch."""

from dataclasses import dataclass
from typing import Literal, get_args

from kmem.arguments import require_count
from kmem.errors import ConfigError, UnknownNameError
from kmem.kstore.defaults import TOP_K

EVERY_TOKENS = 64
"""Tokens between two retrievals (Memory³ §3.3)."""

RetrievalMode = Literal["paper", "shifted", "once"]
"""What the memories of a prompt chunk are retrieved with: its own text, the chunk before it, or the whole prompt, and never again."""
MODE: RetrievalMode = "paper"

RAM_BYTES = 256 << 20
"""Records that stay in RAM after being read, or before; memory is taken as they come."""
DEVICE_BYTES = 256 << 20
"""Memories that stay on the model's device after being read, as stored where the kernel there decodes them, else in the model's type."""
AHEAD = 16
"""Memories read ahead after a retrieval: half of what the next one wants anew is then there (docs/decisions.md)."""


def require_reading(top_k: int, every: int, mode: RetrievalMode) -> None:
    """Raise ConfigError, WrongTypeError or UnknownNameError unless `top_k` and `every` are counts and `mode` is one."""
    require_count(top_k, "top_k")
    if mode not in get_args(RetrievalMode):
        raise UnknownNameError("mode", mode, get_args(RetrievalMode))
    if every is None or every == 0:
        raise ConfigError(f"every must be at least 1 token, not {every}; mode='once' (--mode once) retrieves once.")
    require_count(every, "every")


def require_tiers(device_bytes: int, ram_bytes: int, ahead: int) -> None:
    """Raise ConfigError or WrongTypeError unless all are whole numbers from 0, which switches the tier off."""
    require_count(device_bytes, "device_bytes", least=0)
    require_count(ram_bytes, "ram_bytes", least=0)
    require_count(ahead, "ahead", least=0)


@dataclass(frozen=True, kw_only=True)
class AnswerConfig:
    """Length, cadence of reading and template of an answer."""

    max_new_tokens: int = 64
    top_k: int = TOP_K
    every: int = EVERY_TOKENS
    mode: RetrievalMode = MODE
    template: str = "Question: {prompt}\nAnswer:"

    def __post_init__(self) -> None:
        require_count(self.max_new_tokens, "max_new_tokens")
        require_reading(self.top_k, self.every, self.mode)
        if "{prompt}" not in self.template:
            raise ConfigError(f"The template {self.template!r} has no {{prompt}} in it: write it where the prompt should go.")
