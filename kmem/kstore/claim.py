"""Which place a build may write into: a new one, or its own half-written one."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kmem.errors import BankExistsError, ConfigError
from kmem.kstore.commit import canonical_json, manifest_numbers
from kmem.kstore.place import Place
from kmem.paths import EXECUTOR, FIRST_GENERATION, WRITER, ZARR

BUILD = "build"
LOCK = f"{BUILD}/lock"
"""Held by whoever builds; it says nothing about the folder's contents."""
LEASES = f"{BUILD}/leases"
"""The same in an object store (lease.py)."""
_BEFORE = {"on_demand": False}
"""Configuration that came later, and what every build before it did."""


def is_unfinished_build(place: Place) -> bool:
    """Whether a writer claimed this place and has not committed yet. Later generations are of a bank that lost its manifests."""
    if WRITER not in place.sizes(BUILD) or manifest_numbers(place):
        return False
    return all(file.startswith((f"{ZARR}/{FIRST_GENERATION}/", f"{ZARR}/zarr.json")) for file in place.sizes(ZARR))


def has_begun(place: Place) -> bool:
    """Whether a build is on its way here: it may still be reading its sources, and has then claimed nothing."""
    return is_unfinished_build(place) or (EXECUTOR in place.sizes(BUILD) and not manifest_numbers(place))


def require_claimable(place: Place) -> None:
    """Raise BankExistsError where there is a bank or anything else but an unfinished build, ConfigError where nothing can be written."""
    if place.folder is not None and place.folder.exists() and not place.folder.is_dir():
        raise BankExistsError(f"{place} is a file, not a folder; choose another folder, nothing was changed.")
    if manifest_numbers(place):
        raise BankExistsError(f"{place} already holds a bank; choose another place, or delete this one first.")
    if not is_unfinished_build(place) and not _is_vacant(place):
        raise BankExistsError(f"{place} is not empty and not an unfinished build of kmem; choose another place, nothing was changed.")
    if place.folder is not None:
        _require_writable(place.folder)


def claim(place: Place, config: Mapping[str, Any]) -> None:
    """Make `place` the one of the build with this configuration, or find that it is.

    Raises BankExistsError where there is a bank or anything else, ConfigError naming every field in which a half-written build
    differs. In both cases nothing is touched.
    """
    require_claimable(place)
    if not is_unfinished_build(place):
        try:
            place.create(WRITER, canonical_json(config))
            return
        except FileExistsError:  # another writer claimed it just now: as good as found
            pass
    _require_same(place, json.loads(canonical_json(config)))


@contextmanager
def nothing_left_of_a_failure(place: Place) -> Iterator[None]:
    """Where writing fails, as on a full disk, take away the folder that held nothing before. For whoever holds its lock.

    A kill leaves what is there, to go on with; so does an object store, where others may write at the same time.
    """
    folder = place.folder
    vacant = folder is not None and _is_vacant(place)
    try:
        yield
    except OSError:
        if folder is not None and vacant and not manifest_numbers(place):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _is_vacant(place: Place) -> bool:
    """Missing, empty, or left behind by a writer that was killed before its first file was whole, or while it read its sources."""
    files = [file for file in place.sizes() if file != LOCK and not file.startswith(f"{LEASES}/")]
    if place.folder is not None and any(_is_foreign(path, place.folder) for path in place.folder.rglob("*")):
        return False
    return not files or (EXECUTOR in files and all(file.startswith(f"{BUILD}/") for file in files))


def _is_foreign(path: Path, folder: Path) -> bool:
    """Whether no build makes such a folder."""
    return path.is_dir() and path.relative_to(folder).parts[0] != BUILD


def _require_writable(root: Path) -> None:
    near = next(path for path in (root, *root.absolute().parents) if path.exists())
    if not near.is_dir():
        raise ConfigError(f"{root} can't be made: {near} is a file; choose another folder.")
    if os.statvfs(near).f_flag & os.ST_RDONLY:
        raise ConfigError(f"{root} can't be written: {near} is on a file system mounted read-only; choose another folder.")
    if not os.access(near, os.W_OK | os.X_OK):
        raise ConfigError(f"{root} can't be written: {near} gives no permission; choose another folder.")


def _require_same(place: Place, config: Mapping[str, Any]) -> None:
    try:
        before = _BEFORE | _flat(json.loads(place.read(WRITER)))
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{place.at(WRITER)} can't be read ({error}); delete {place} and build again.") from error
    now = _flat(config)
    differing = [field for field in sorted(before.keys() | now.keys()) if before.get(field) != now.get(field)]
    if differing:
        values = "; ".join(f"{field}: there {before.get(field)!r:.60}, here {now.get(field)!r:.60}" for field in differing)
        raise ConfigError(
            f"{place} holds a half-written bank with another configuration ({values}); "
            "resume with the same options, or build into another place."
        )


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """One level of nesting as dotted names, so that a message can say `profile.selector`."""
    flat: dict[str, Any] = {}
    for field, value in config.items():
        flat |= {f"{field}.{name}": inner for name, inner in value.items()} if type(value) is dict else {field: value}
    return flat
