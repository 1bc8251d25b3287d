"""The retrievers by name."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from kmem.arguments import require_name
from kmem.errors import ConfigError
from kmem.kstore.index.bm25 import BM25, Bm25
from kmem.kstore.index.embed import MINILM, Embedder
from kmem.kstore.index.hybrid import HYBRID, Hybrid
from kmem.kstore.index.multilingual import MULTILINGUAL
from kmem.kstore.index.null import NULL, Null
from kmem.kstore.index.retriever import Retriever

RETRIEVERS: dict[str, Callable[[], Retriever]] = {
    MINILM: Embedder,
    MULTILINGUAL: lambda: Embedder(MULTILINGUAL),
    BM25: Bm25,
    HYBRID: lambda: Hybrid(Embedder()),
    NULL: Null,
}
"""Whatever else is named is a sentence-transformers model; `hybrid:NAME` is that one with BM25 beside it."""
NEAR = 0.8
"""How alike a name is to a known one, by difflib, that it is taken for a misspelt one; no model of the hub without a namespace is."""
HIDDEN = "hidden"
"""The language model's own hidden states; whoever has the model hands them in."""


def retriever(
    name: str,
    *,
    query_prefix: str | None = None,
    passage_prefix: str | None = None,
    hidden: Callable[[], Retriever] | None = None,
) -> Retriever:
    """The retriever of this name, not loaded yet. The prefixes are for sentence-transformers models, None for what those declare.

    hidden: gives `hidden`, which takes the language model. Raises ConfigError without it, for prefixes of a retriever that takes
    none, and for a known name misspelt; loading it later raises what `Embedder` does.
    """
    require_name(name, "embedder")
    kind, named, of = name.partition(":")
    if kind == HYBRID and named:
        if not of:
            raise ConfigError(f"{name!r} names no embedder beside the words: give one, as in hybrid:minilm, or {HYBRID} alone.")
        if of == BM25 or of.partition(":")[0] == HYBRID:
            raise ConfigError(f"{name!r} fuses a retriever of words with itself: name one of vectors, as in hybrid:minilm.")
        return Hybrid(retriever(of, query_prefix=query_prefix, passage_prefix=passage_prefix, hidden=hidden))
    known = (*RETRIEVERS, HIDDEN)
    if name not in known and kind.casefold() in known:
        raise ConfigError(f"Embedder {name!r} is none of {', '.join(known)}; only {HYBRID} takes another beside it, as in hybrid:minilm.")
    if name not in known and (near := get_close_matches(name, known, 1, NEAR)) and not Path(name).exists():
        raise ConfigError(f"Embedder {name!r} is none of {', '.join(known)}; did you mean {near[0]}?")
    if name not in known:
        return Embedder(name, query_prefix=query_prefix, passage_prefix=passage_prefix)
    if query_prefix is not None or passage_prefix is not None:
        raise ConfigError(f"Embedder {name!r} takes no prefixes: leave --query-prefix and --passage-prefix out.")
    if name == HIDDEN:
        if hidden is None:
            raise ConfigError(
                "Embedder 'hidden' is the language model's own hidden states: give the model, as in "
                "kmem.open(bank, embedder=kmem.HiddenStates(model, tokenizer)), or attach the bank to it."
            )
        return hidden()
    return RETRIEVERS[name]()


def needs_model(recorded: Mapping[str, Any]) -> bool:
    """Whether the retriever that a bank records is the language model itself, with words beside it or without."""
    return str(recorded["name"]).removeprefix(f"{HYBRID}:") == HIDDEN


def recorded_retriever(recorded: Mapping[str, Any], *, hidden: Callable[[], Retriever] | None = None) -> Retriever:
    """The retriever that a bank records, with its prefixes; whether it is the same one, `require_same_embedder` says.

    hidden: as in `retriever`, which says what this raises.
    """
    name = str(recorded["name"])
    if name.removeprefix(f"{HYBRID}:") in (*RETRIEVERS, HIDDEN):  # what prefixes these have is their own
        return retriever(name, hidden=hidden)
    return retriever(name, query_prefix=recorded.get("query_prefix", ""), passage_prefix=recorded.get("passage_prefix", ""))
