"""What decides the bytes of a bank, written down when a build begins, and told apart in words when one is resumed."""

import json
from collections.abc import Mapping
from typing import Any

from kmem import __version__
from kmem.encoder.encode import Encoder
from kmem.kstore.index.factory import AUTO, TARGET_RECALL
from kmem.pipelines.config import EARLIER_TEXT, BuildConfig

_OPTION = {"kmem_version": "the version of kmem"}
_OF_THE_PROFILE = ("bracket", "budget", "selector")
BEFORE = {"encode": True, "index": AUTO, "target_recall": TARGET_RECALL, **EARLIER_TEXT}
"""Settings that came later, and what every build before them did."""
_FOUND = ("chunks", "content", "sources", "partition_bytes")
"""What is known once the sources were read, and what a resumed build takes over; compared where both sides have it."""


def resolved(config: BuildConfig, encoder: Encoder, embedder: Mapping[str, Any]) -> dict[str, Any]:
    """A resumed build must agree with all of it."""
    return {
        **{key: value for key, value in config.to_dict().items() if key != "model"},
        "profile": encoder.profile.name,
        "dtype": str(encoder.model.dtype).removeprefix("torch."),
        "embedder": dict(embedder),
        "identity": encoder.spec.identity.to_dict(),
        "kmem_version": __version__,
    }


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a person would have to change back, a phrase each; empty when the settings agree."""
    found: list[str] = []
    now = json.loads(json.dumps(now))  # a tuple is a list there
    for key in sorted(recorded.keys() | now.keys()):
        before, after = recorded.get(key), now.get(key)
        if before == after or (key in _FOUND and not (key in recorded and key in now)):
            continue
        if key == "content" and recorded["chunks"] != now["chunks"]:
            continue
        if key in ("identity", "embedder"):
            found += _changed_parts(key, recorded[key], now[key])
        elif key == "chunks":
            found.append(f"the sources gave {before} chunks, now they give {after}")
        elif key in ("content", "sources"):
            found.append("the text of the sources changed, or their order or place")
        elif isinstance(before, dict) and isinstance(after, dict):
            found += [
                f"{key}.{name} was {_given(before.get(name))}, is now {_given(after.get(name))}"
                for name in sorted(before.keys() | after.keys())
                if before.get(name) != after.get(name)
            ]
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
