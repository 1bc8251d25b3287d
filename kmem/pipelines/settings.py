"""What decides the bytes of a bank, written down when a build begins, and told apart in words when one is resumed."""

from collections.abc import Mapping, Sequence
from typing import Any

from kmem import __version__
from kmem.document import Chunk
from kmem.encoder.encode import Encoder
from kmem.identity import content_id
from kmem.kstore.index.factory import AUTO
from kmem.kstore.index.retriever import Retriever
from kmem.pipelines.config import BuildConfig

_OPTION = {"kmem_version": "the version of kmem"}
_OF_THE_PROFILE = ("bracket", "budget", "selector")
_BEFORE = {"encode": True, "index": AUTO}
"""Settings that came later, and what every build before them did."""


def resolved(config: BuildConfig, encoder: Encoder, embedder: Retriever, chunks: Sequence[Chunk]) -> dict[str, Any]:
    """A resumed build must agree with all of it."""
    return {
        **{key: value for key, value in config.to_dict().items() if key != "model"},
        "profile": encoder.profile.name,
        "dtype": str(encoder.model.dtype).removeprefix("torch."),
        "embedder": embedder.identity(),
        "identity": encoder.spec.identity.to_dict(),
        "chunks": len(chunks),
        "content": content_id(*(chunk.id for chunk in chunks)),
        "kmem_version": __version__,
    }


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a person would have to change back, a phrase each; empty when the settings agree."""
    found: list[str] = []
    recorded = {**_BEFORE, **recorded}
    for key in sorted(recorded.keys() | now.keys()):
        before, after = recorded.get(key), now.get(key)
        if before == after or (key == "content" and recorded["chunks"] != now["chunks"]):
            continue
        if key in ("identity", "embedder"):
            found += _changed_parts(key, recorded[key], now[key])
        elif key == "chunks":
            found.append(f"the sources gave {before} chunks, now they give {after}")
        elif key == "content":
            found.append("the text of the sources changed, or their order or place")
        else:
            option = _OPTION.get(key, f"--{key.replace('_', '-')}")
            found.append(f"{option} was {_given(before)}, is now {_given(after)}")
    return found


def _given(value: Any) -> str:
    return "not given" if value is None else str(value)


def _changed_parts(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    option, name = ("model", "model") if key == "identity" else ("embedder", "name")
    if before[name] != now[name]:
        return [f"--{option} was {before[name]}, is now {now[name]}"]
    parts = sorted(part for part in before.keys() | now.keys() if before.get(part) != now.get(part))
    return [f"the {'profile' if part in _OF_THE_PROFILE else option}'s {part} changed" for part in parts]
