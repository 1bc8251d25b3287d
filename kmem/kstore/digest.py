"""Digests that say which algorithm made them: `blake3:<hex>`, or `sha256:<hex>` in what formats 1 and 2 left."""

import hashlib
from collections.abc import Callable
from typing import Protocol

from blake3 import blake3
from typing_extensions import Buffer


class _Hash(Protocol):
    def update(self, data: Buffer, /) -> object: ...
    def hexdigest(self) -> str: ...


ALGORITHMS: dict[str, Callable[[], _Hash]] = {"blake3": blake3, "sha256": hashlib.sha256}
_NEW = "blake3"


class Digest:
    """Of bytes that come in parts; `str` spells it. `like`: a digest whose algorithm to use. Raises KeyError for an unknown one."""

    def __init__(self, like: str = f"{_NEW}:") -> None:
        self._algorithm = like.partition(":")[0]
        self._hash = ALGORITHMS[self._algorithm]()

    def update(self, data: Buffer) -> None:
        self._hash.update(data)

    def __str__(self) -> str:
        return f"{self._algorithm}:{self._hash.hexdigest()}"


def digest_of(data: Buffer, like: str = f"{_NEW}:") -> str:
    """The digest of these bytes."""
    digest = Digest(like)
    digest.update(data)
    return str(digest)
