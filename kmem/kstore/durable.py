"""Bytes that reach the disk whole or not at all, and that are checked when they come back.

A file is written under a temporary name, flushed to the device, and only then given its own name: a reader, a resumed
build or a `kill -9` sees the old file, no file, or the whole new one.
"""

import hashlib
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kmem.errors import CorruptBankError

PARTIAL_SUFFIX = ".partial"
"""Ending of a temporary name; whatever carries it was never finished."""

RESTORE = "restore the file from a copy or rebuild the bank (kmem build)."


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of a bank: its path relative to the bank's folder, its length and the sha256 of its bytes in hex."""

    file: str
    size_bytes: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "StoredFile":
        return cls(file=str(data["file"]), size_bytes=int(data["size_bytes"]), sha256=str(data["sha256"]))


def replace_file(root: Path, file: str, data: bytes | memoryview) -> StoredFile:
    """Write `root/file` durably, in place of an older one if there is any."""
    target = root / file
    partial = _write_partial(target, data)
    os.replace(partial, target)
    _sync_folder(target.parent)
    return StoredFile(file=file, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def create_file(root: Path, file: str, data: bytes) -> None:
    """Write `root/file` durably if no such file exists. Raises FileExistsError if it does; of two writers exactly one succeeds.

    File systems without hard links get an exclusive create instead, where a crash can leave a file that is cut short.
    """
    target = root / file
    partial = _write_partial(target, data)
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:
        _write_new(target, data)
    finally:
        partial.unlink()
    _sync_folder(target.parent)


def require_size(root: Path, stored: StoredFile) -> Path:
    """Path of a file that is there with its full length; CorruptBankError names both lengths otherwise."""
    path = root / stored.file
    try:
        actual = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise CorruptBankError(f"{path} is missing; the manifest lists it with {stored.size_bytes} bytes; {RESTORE}") from None
    if actual != stored.size_bytes:
        raise CorruptBankError(f"{path} has {actual} bytes where the manifest lists {stored.size_bytes}; {RESTORE}")
    return path


def require_sha256(path: Path, stored: StoredFile, data: bytes | memoryview) -> None:
    """Raise CorruptBankError naming both digests unless `data`, read from `path`, is what was written."""
    _require_digest(path, stored, hashlib.sha256(data).hexdigest())


def _require_digest(path: Path, stored: StoredFile, actual: str) -> None:
    if actual != stored.sha256:
        raise CorruptBankError(
            f"{path} was altered: its sha256 begins with {actual[:12]}, the manifest lists {stored.sha256[:12]}; {RESTORE}"
        )


def read_verified(root: Path, stored: StoredFile) -> bytes:
    """All bytes of a file after checking length and sha256. Raises CorruptBankError."""
    path = require_size(root, stored)
    data = path.read_bytes()
    require_sha256(path, stored, data)
    return data


def require_unaltered(root: Path, stored: StoredFile) -> None:
    """Raise CorruptBankError unless length and sha256 are those written; a file of any size, never whole in memory."""
    with require_size(root, stored).open("rb") as file:
        _require_digest(root / stored.file, stored, hashlib.file_digest(file, "sha256").hexdigest())


def describe_file(root: Path, file: str) -> StoredFile:
    """The record of a file as it now is on disk."""
    data = (root / file).read_bytes()
    return StoredFile(file=file, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def remove_partials(folder: Path) -> None:
    """Delete what interrupted writers left below `folder`; call it only when no writer is at work."""
    for partial in folder.rglob(f"*{PARTIAL_SUFFIX}"):
        partial.unlink(missing_ok=True)


def _write_partial(target: Path, data: bytes | memoryview) -> Path:
    _make_folder(target.parent)
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}")
    try:
        _write_new(partial, data)
    except Exception:
        partial.unlink(missing_ok=True)
        raise
    return partial


def _write_new(path: Path, data: bytes | memoryview) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_folder(folder: Path) -> None:
    """Create it and its parents, each name flushed: without that a power cut can lose a file whose own bytes are safe."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
