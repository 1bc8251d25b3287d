"""How many excerpts, and how long."""

from dataclasses import dataclass

from kmem.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ExamplesConfig:
    """`each` excerpts of a source and label, `least` to `most` characters long, half of that in Chinese; drawn by `seed`."""

    each: int = 200
    least: int = 200
    most: int = 1600
    seed: int = 0

    def __post_init__(self) -> None:
        if self.each < 1 or not 1 <= self.least <= self.most:
            raise ConfigError(f"each ({self.each}) must be at least 1 and least ({self.least}) between 1 and most ({self.most}).")
