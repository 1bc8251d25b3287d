"""How long work tells whoever watches how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""(stage, done, total); the first call of a stage has done = 0."""


def silent(stage: str, done: int, total: int) -> None:
    """Nobody watches."""
