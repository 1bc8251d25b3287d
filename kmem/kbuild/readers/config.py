"""How sources are read."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """Nothing to choose yet."""
