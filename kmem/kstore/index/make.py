"""Building and writing a bank's index: of vectors, of words, or of both, as the retriever's identity says."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem.kstore.digest import digest_of
from kmem.kstore.index.build import Fill, build_index
from kmem.kstore.index.config import IndexConfig
from kmem.kstore.index.excerpts import EmbedQueries, excerpts
from kmem.kstore.index.lexical import build_lexical, write_lexical
from kmem.kstore.index.retriever import LEXICAL
from kmem.kstore.index.search import index_name, write_index
from kmem.kstore.manifest import BM25, WORDS, IndexRecord
from kmem.kstore.place import Place
from kmem.kstore.stored import StoredFile

Texts = Callable[[], Iterable[str]]
"""Gives the references of all memories, in the order of their ids; called where words are indexed or excerpts of them embedded."""


def make_index(
    place: Place,
    vectors: NDArray[np.float32],
    texts: Texts,
    ids: NDArray[np.int64],
    embedder: Mapping[str, Any],
    *,
    config: IndexConfig | None = None,
    number: int = 1,
    fill: Fill | None = None,
    embed_queries: EmbedQueries | None = None,
) -> IndexRecord:
    """Index unit vectors [N, dim], dim 0 for none, and texts under their ids [N].

    embedder: `identity()` of the retriever that made the vectors. number: of the manifest that will list the index.
    embed_queries: that retriever's, with which an index that isn't exact is tuned to excerpts of the texts; without it, to stored vectors
    with noise, which are nearer than questions.
    fill: as `build_index` has it.
    A word's score depends on how many texts have it, so words are indexed anew whenever texts come or go. Raises ConfigError as
    `build_index` does.
    """
    config = config or IndexConfig()
    words = _write_words(place, texts, ids, number) if LEXICAL in embedder else None
    if vectors.shape[1] or words is None:
        queries = None
        if embed_queries is not None and config.factory_of(*vectors.shape).settings:
            asked = excerpts(texts(), len(ids), config.seed)
            queries = embed_queries(asked) if asked else None
        index, stats = build_index(vectors, ids, config=config, queries=queries, fill=fill)
        return replace(write_index(place, index, stats, embedder, number=number), words=words)
    return IndexRecord(
        stored=words,
        vectors=None,
        kind=WORDS,
        asked=config.factory,
        factory=BM25,
        metric="bm25",
        search={},
        target_recall=config.target_recall,
        recall_at_5=1.0,
        recall_sample=0,
        embedder=dict(embedder),
        rows=len(ids),
        dim=0,
        words=words,
    )


def _write_words(place: Place, texts: Texts, ids: NDArray[np.int64], number: int) -> StoredFile:
    """As `write_index` does: the name of a later one says what is in it."""
    data = write_lexical(build_lexical(texts(), ids))
    digest = digest_of(data)
    stored = StoredFile(file=f"{index_name(number, lambda: digest)}.bm25.safetensors", size_bytes=len(data), digest=digest)
    place.replace(stored.file, data)
    return stored
