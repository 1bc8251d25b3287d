"""What finds texts: vectors, words, or both, and the record by which a bank tells one from another."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kmem.errors import IdentityMismatchError

LEXICAL = "lexical"
"""The entry of an identity that says how words are counted, and with it that the index has a part of words."""


class Retriever(Protocol):
    """Whatever gives texts vectors, and says whether their words are indexed as well. Safe to use from threads."""

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Passages → [n, dim] float32 of length 1, in the order given; dim 0 where words alone are indexed.

        `progress` is told how many more texts are done.
        """
        ...

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same of what passages are searched with."""
        ...

    def identity(self) -> dict[str, Any]:
        """`name` for people; every other entry must be equal for two retrievers to be the same. With LEXICAL, words are indexed."""
        ...


def require_same_embedder(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise IdentityMismatchError naming every entry but `name` in which the embedder at hand differs from the index's."""
    differing = [key for key in sorted(recorded.keys() | given.keys()) if key != "name" and recorded.get(key) != given.get(key)]
    if differing:
        values = "; ".join(f"{key}: index {recorded.get(key)}, here {given.get(key)}" for key in differing)
        raise IdentityMismatchError(
            f"The index was made by embedder {recorded.get('name')!r} and can't be searched with {given.get('name')!r} ({values}); "
            "use the embedder that made the index, or rebuild the bank with this one."
        )
