"""Excerpts of an index's own texts, embedded as questions are: what a search index is tuned with.

The shortest questions lie farther from what answers them than a stored vector with noise does, so lists tuned with noise look too little
(docs/decisions.md).
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

EmbedQueries = Callable[[Sequence[str]], NDArray[np.float32]]
"""A retriever's `embed_queries`: texts → unit vectors [n, dim]."""

EXCERPTS = 256
CHARACTERS = 60
"""Of an excerpt at most: half a sentence, about a question's length."""


def excerpts(texts: Iterable[str], rows: int, seed: int) -> list[str]:
    """At most EXCERPTS pieces of CHARACTERS out of the middle of texts that the seed chooses among `rows`, in the order of the texts.

    A piece is whole words where words are spaced; of a text no longer than that it is of the second half. Blank ones are left out.
    """
    generator = np.random.default_rng(seed)
    chosen = set(generator.choice(rows, size=min(EXCERPTS, rows), replace=False).tolist())
    found = (_piece(text, generator) for row, text in enumerate(texts) if row in chosen)
    return [piece for piece in found if piece]


def _piece(text: str, generator: np.random.Generator) -> str:
    """Without the words at both ends, which may be cut in two, where there are others."""
    room = len(text) - CHARACTERS
    start = int(generator.integers(1, room + 1)) if room > 0 else len(text) // 2
    words = text[start : start + CHARACTERS].split()
    return " ".join(words[1:-1] or words)
