"""The retrievers by name."""

from collections.abc import Callable, Mapping
from typing import Any

from kmem.errors import ConfigError
from kmem.kstore.index.bm25 import BM25, Bm25
from kmem.kstore.index.embed import MINILM, Embedder
from kmem.kstore.index.hybrid import HYBRID, Hybrid
from kmem.kstore.index.retriever import Retriever

RETRIEVERS: dict[str, Callable[[], Retriever]] = {
    MINILM: Embedder,
    BM25: Bm25,
    HYBRID: lambda: Hybrid(HYBRID, Embedder()),
}
"""Whatever else is named is a sentence-transformers model; `hybrid:NAME` is that one with BM25 beside it."""


def retriever(name: str, *, query_prefix: str | None = None, passage_prefix: str | None = None) -> Retriever:
    """The retriever of this name, not loaded yet. The prefixes are for sentence-transformers models, None for what those declare.

    Raises ConfigError for prefixes of a retriever that takes none; loading it later raises what `Embedder` does.
    """
    kind, named, of = name.partition(":")
    if kind == HYBRID and named:
        if of == BM25 or of.partition(":")[0] == HYBRID:
            raise ConfigError(f"{name!r} fuses a retriever of words with itself: name one of vectors, as in hybrid:minilm.")
        return Hybrid(name, retriever(of, query_prefix=query_prefix, passage_prefix=passage_prefix))
    if name not in RETRIEVERS:
        return Embedder(name, query_prefix=query_prefix, passage_prefix=passage_prefix)
    if query_prefix is not None or passage_prefix is not None:
        raise ConfigError(f"Embedder {name!r} takes no prefixes: leave --query-prefix and --passage-prefix out.")
    return RETRIEVERS[name]()


def recorded_retriever(recorded: Mapping[str, Any]) -> Retriever:
    """The retriever that a bank records, with its prefixes; whether it is the same one, `require_same_embedder` says."""
    name = str(recorded["name"])
    if name.removeprefix(f"{HYBRID}:") in RETRIEVERS:
        return retriever(name)
    return retriever(name, query_prefix=recorded.get("query_prefix", ""), passage_prefix=recorded.get("passage_prefix", ""))
