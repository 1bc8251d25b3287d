"""A bank in a page of facts."""

from typing import Any

from kmem.kstore.bank import Bank
from kmem.kstore.index.factory import AUTO, parse_factory
from kmem.kstore.manifest import IndexRecord


def describe(bank: Bank) -> dict[str, Any]:
    """What `kmem info` shows; keys ending in `_bytes` are bytes."""
    manifest, profile, sizes, index = bank.manifest, bank.profile, bank.sizes(), bank.manifest.index
    holding = sum(tokens > 0 for row in profile.budget for tokens in row)
    return {
        "memories": sizes.memories,
        "encoded": sizes.encoded,
        "model": bank.identity.model,
        "profile": profile.name,
        "selector": profile.selector,
        "budget": f"{profile.slots} slots on {holding} of {profile.layers * profile.heads} heads, up to layer {profile.last_layer}",
        "bracket": f"{profile.prefix!r} … {profile.suffix!r}, chunks at the {profile.align} of the span",
        "bracket_tokens": " ".join(map(str, manifest.bracket_tokens)),
        "encoder_dtype": manifest.encoder_dtype,
        "payload": manifest.quantiser["name"],
        "record_bytes": sizes.record_bytes,
        "payload_bytes": sizes.payload_bytes,
        "stored_bytes": sizes.stored_bytes,
        "shards": sum(len(generation.shards) for generation in manifest.generations),
        "index": f"{_parts(index)} by {index.embedder['name']}, {_recall(index)}{_waiting(index)}",
        "manifest": manifest.number,
        "format_version": manifest.format_version,
        "kmem_version": manifest.kmem_version,
        "identity": bank.identity.to_dict(),
    }


def _parts(index: IndexRecord) -> str:
    """What is searched: vectors, words, or both."""
    return f"{index.factory} and BM25" if index.has_vectors and index.words is not None else index.factory


def _recall(index: IndexRecord) -> str:
    """Flat search is exact; any other index was measured against it."""
    if not index.recall_sample:
        return "exact"
    short = f", short of the target {index.target_recall:g}" if index.recall_at_5 < index.target_recall else ""
    settings = " ".join(f"{name} {value}" for name, value in index.search.items())
    return f"recall@5 {index.recall_at_5:.3f} on {index.recall_sample} queries with {settings}{short}"


def _waiting(index: IndexRecord) -> str:
    """An index that was asked for takes as many rows as it has lists, or words a code, to be trained."""
    there = not index.has_vectors or index.asked == AUTO or parse_factory(index.asked).kind == index.kind
    return "" if there else f"; {index.asked} once there are rows enough"
