"""`bm25`: a text is found by the words that it shares with the query, rare ones first (BM25, Lucene's form). Nothing is embedded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem.kstore.index.lexical import SCORING
from kmem.kstore.index.retriever import LEXICAL

BM25 = "bm25"


@dataclass(frozen=True)
class Bm25:
    """A retriever without vectors."""

    def embed(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        if progress is not None:
            progress(len(texts))
        return self.embed_queries(texts)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros((len(texts), 0), dtype=np.float32)

    def identity(self) -> dict[str, Any]:
        return {"name": BM25, LEXICAL: SCORING}
