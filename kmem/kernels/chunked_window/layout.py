"""Which keys a query sees, and how keys are handed over. Positions count a sequence's tokens from 0."""

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from torch import Tensor

from kmem.errors import ConfigError

Position = TypeVar("Position", int, Tensor)


class KeyValue(NamedTuple):
    """Keys and values [B, H, n, D] of the last n tokens, the last query's among them."""

    key: Tensor
    value: Tensor


class Eidetic(NamedTuple):
    """key, value: [B, H, K, M, D], up to M stored tokens for each of the K chunks that queries stand in; filled: [B, K, M] bool."""

    key: Tensor
    value: Tensor
    filled: Tensor


class Attended(NamedTuple):
    """output: [B, Q, T, D]; lse: [B, Q, T], the log of the sum of exponentials of a query's scores, where it was asked for."""

    output: Tensor
    lse: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Window:
    """A query sees its chunk up to itself and the `width − chunk` tokens before the chunk; the `fading` keys stand right before those.

    So between width − chunk + 1 and width keys. `sliding`: exactly the last `width`, itself included, as B'MOJO-F was published; with a
    chunk of one token both are the same. Raises ConfigError for sizes that can't be.
    """

    width: int
    chunk: int
    fading: int = 0
    sliding: bool = False

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"The window must be at least 1 token, not {self.width}.")
        if not 1 <= self.chunk <= self.width:
            raise ConfigError(f"A chunk of {self.chunk} tokens doesn't fit a window of {self.width}: take 1 to {self.width}.")
        if self.fading < 0:
            raise ConfigError(f"The number of fading keys must be 0 or more, not {self.fading}.")

    def first(self, position: Position) -> Position:
        """Of a query's window: the position of its first key; below 0 where the sequence begins later."""
        if self.sliding:
            return position - self.width + 1
        return position - position % self.chunk - self.width + self.chunk

    def chunks(self, past: int, end: int) -> range:
        """Numbers of the chunks that positions `past` … `end` − 1 stand in."""
        return range(past // self.chunk, -(-end // self.chunk))

    def kept(self, position: int) -> int:
        """First position whose key a query at `position`, or later, can see in its window."""
        return max(0, self.first(position))

    def kept_fading(self, position: int) -> int:
        """First position whose fading key a query at `position`, or later, can see."""
        return max(0, self.first(position) - self.fading)


def require_reach(keys: int, first: int, end: int, kind: str) -> None:
    """Raise ConfigError unless the `keys` before position `end` reach back to `first`."""
    if end - keys > first:
        raise ConfigError(
            f"The {kind} keys begin at position {end - keys}, but the first query sees position {first}: hand over {end - first}."
        )
