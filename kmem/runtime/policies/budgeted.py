"""What policies that rank tokens for a budget have in common."""

from dataclasses import dataclass

from kmem.arguments import require_count


@dataclass(frozen=True, kw_only=True)
class Budgeted:
    """delay: tokens between two firings; up to so many stand in the cache beyond the budget. protect: see `Policy`.

    Raises ConfigError or WrongTypeError unless both are counts.
    """

    delay: int = 128
    protect: int = 8
    decides: bool = False

    def __post_init__(self) -> None:
        require_count(self.delay, "delay")
        require_count(self.protect, "protect")
