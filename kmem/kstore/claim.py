"""Which folder a build may write into: a new one, or its own half-written one."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmem.errors import BankExistsError, ConfigError
from kmem.kstore.commit import canonical_json, manifest_numbers
from kmem.kstore.durable import PARTIAL_SUFFIX, create_file
from kmem.paths import WRITER

BUILD = "build"
LOCK = f"{BUILD}/lock"
"""Held by whoever builds; it says nothing about the folder's contents."""


def is_unfinished_build(root: Path) -> bool:
    """Whether a writer claimed this folder and has not committed yet."""
    return (root / WRITER).is_file() and not manifest_numbers(root)


def require_claimable(root: Path) -> None:
    """Raise BankExistsError where there is a bank or anything else but an unfinished build, ConfigError where nothing can be written."""
    if root.exists() and not root.is_dir():
        raise BankExistsError(f"{root} is a file, not a folder; choose another folder, nothing was changed.")
    if manifest_numbers(root):
        raise BankExistsError(f"{root} already holds a bank; choose another folder, or delete this one first.")
    if not is_unfinished_build(root) and not _is_vacant(root):
        raise BankExistsError(f"{root} is not empty and not an unfinished build of kmem; choose another folder, nothing was changed.")
    place = next(path for path in (root, *root.absolute().parents) if path.exists())
    if not place.is_dir():
        raise ConfigError(f"{root} can't be made: {place} is a file; choose another folder.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"{root} can't be written: {place} gives no permission; choose another folder.")


def claim_folder(root: Path, config: Mapping[str, Any]) -> None:
    """Make `root` the folder of the build with this configuration, or find that it is.

    Raises BankExistsError where there is a bank or anything else, ConfigError naming every field in which a half-written build
    differs. In both cases nothing is touched.
    """
    require_claimable(root)
    if not is_unfinished_build(root):
        try:
            create_file(root, WRITER, canonical_json(config))
            return
        except FileExistsError:  # another writer claimed it just now: as good as found
            pass
    _require_same(root, json.loads(canonical_json(config)))


def _is_vacant(root: Path) -> bool:
    """Missing, empty, or left behind by a writer that was killed before its first file was whole."""
    if not root.exists():
        return True
    return root.is_dir() and all(
        path.is_dir() if path.name == BUILD else path.parent.name == BUILD and (path.name.endswith(PARTIAL_SUFFIX) or path == root / LOCK)
        for path in root.rglob("*")
    )


def _require_same(root: Path, config: Mapping[str, Any]) -> None:
    try:
        there = json.loads((root / WRITER).read_bytes())
    except ValueError as error:
        raise ConfigError(f"{root / WRITER} can't be read ({error}); delete {root} and build again.") from error
    before, now = _flat(there), _flat(config)
    differing = [field for field in sorted(before.keys() | now.keys()) if before.get(field) != now.get(field)]
    if differing:
        values = "; ".join(f"{field}: there {before.get(field)!r:.60}, here {now.get(field)!r:.60}" for field in differing)
        raise ConfigError(
            f"{root} holds a half-written bank with another configuration ({values}); "
            "resume with the same options, or build into another folder."
        )


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """One level of nesting as dotted names, so that a message can say `profile.selector`."""
    flat: dict[str, Any] = {}
    for field, value in config.items():
        flat |= {f"{field}.{name}": inner for name, inner in value.items()} if type(value) is dict else {field: value}
    return flat
