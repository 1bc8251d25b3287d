"""The record of a file of a bank, and its comparison with what lies there now."""

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from typing_extensions import Buffer

from kmem.errors import CorruptBankError
from kmem.kstore.digest import ALGORITHMS, Digest, digest_of
from kmem.kstore.fields import Fields
from kmem.kstore.place import Place, Span
from kmem.kstore.place.protocol import RESTORE

PIECE_BYTES = 8 << 20
"""How much of a file is in memory at a time while it is only hashed."""

_PATH = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of a bank: its path relative to the bank's root, its length and the digest of its bytes (`digest.py`)."""

    file: str
    size_bytes: int
    digest: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, data: Fields) -> "StoredFile":
        """Raises ValueError for a field that is missing or misshapen, or an unknown algorithm. Formats 1 and 2 have a bare `sha256`."""
        digest = data.text("digest") if "digest" in data else f"sha256:{data.text('sha256')}"
        if digest.partition(":")[0] not in ALGORITHMS:
            raise ValueError(f"{data.name_of('digest')} is {digest!r:.20}, of none of the algorithms {', '.join(ALGORITHMS)}")
        return cls(file=_path(data, "file"), size_bytes=data.count("size_bytes"), digest=digest)

    @classmethod
    def from_flat(cls, data: Fields, name: str) -> "StoredFile":
        """From the fields `<name>_file`, `<name>_bytes` and `<name>_sha256`, as formats 1 and 2 have some."""
        return cls(file=_path(data, f"{name}_file"), size_bytes=data.count(f"{name}_bytes"), digest=f"sha256:{data.text(f'{name}_sha256')}")


def _path(data: Fields, name: str) -> str:
    """A path below the bank, spelled as ours are."""
    path = data.text(name)
    if not _PATH.fullmatch(path) or ".." in path.split("/"):
        raise ValueError(f"{data.name_of(name)} is {path!r:.60}, which names no file below the bank")
    return path


def store(place: Place, file: str, data: Buffer) -> StoredFile:
    """Write a file durably, in place of an older one if there is any."""
    place.replace(file, data)
    return describe(file, data)


def store_stream(place: Place, file: str, parts: Iterable[Buffer]) -> StoredFile:
    """The same from parts, pieces of some megabytes: the next is made and hashed, in another thread, while one is written."""
    digest, size, remaining = Digest(), 0, iter(parts)

    def following() -> Buffer | None:
        part = next(remaining, None)
        if part is not None:
            digest.update(part)
        return part

    def passing(coming: Future[Buffer | None]) -> Iterator[Buffer]:
        nonlocal size
        while (part := coming.result()) is not None:
            coming = beside.submit(following)
            size += memoryview(part).nbytes
            yield part

    with ThreadPoolExecutor(1) as beside:
        place.replace_stream(file, passing(beside.submit(following)))
    return StoredFile(file=file, size_bytes=size, digest=str(digest))


def describe(file: str, data: Buffer) -> StoredFile:
    """The record of a file with these bytes."""
    return StoredFile(file=file, size_bytes=memoryview(data).nbytes, digest=digest_of(data))


def require_sizes(place: Place, files: Iterable[StoredFile]) -> None:
    """Raise CorruptBankError, naming both lengths, for the first file that is missing or has another length."""
    files = tuple(files)
    there = place.lengths(stored.file for stored in files)
    for stored in files:
        actual = there.get(stored.file)
        if actual is None:
            raise _missing(place, stored)
        _require_size(place, stored, actual)


def read_verified(place: Place, stored: StoredFile) -> bytes:
    """All bytes of a file after checking length and digest. Raises CorruptBankError."""
    try:
        data = place.read(stored.file)
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(place, stored) from None
    _require_size(place, stored, len(data))
    _require_digest(place, stored, digest_of(data, like=stored.digest))
    return data


def require_unaltered(place: Place, stored: StoredFile) -> None:
    """Raise CorruptBankError unless length and digest are those written; a file of any size, never whole in memory."""
    digest = Digest(like=stored.digest)
    piece = memoryview(bytearray(min(PIECE_BYTES, stored.size_bytes)))
    for start in range(0, stored.size_bytes, PIECE_BYTES):
        part = piece[: min(PIECE_BYTES, stored.size_bytes - start)]
        place.fetch([Span(stored.file, stored.size_bytes, start, part)], cold=True)
        digest.update(part)
    _require_digest(place, stored, str(digest))


def _require_size(place: Place, stored: StoredFile, actual: int) -> None:
    if actual != stored.size_bytes:
        raise CorruptBankError(
            f"{place.at(stored.file)} has {actual} bytes where the manifest lists {stored.size_bytes}; {_way_out(stored)}"
        )


def _require_digest(place: Place, stored: StoredFile, actual: str) -> None:
    if actual != stored.digest:
        algorithm, _, expected = stored.digest.partition(":")
        digests = f"its {algorithm} begins with {actual.partition(':')[2][:12]}, the manifest lists {expected[:12]}"
        raise CorruptBankError(f"{place.at(stored.file)} was altered: {digests}; {_way_out(stored)}")


def _missing(place: Place, stored: StoredFile) -> CorruptBankError:
    if place.folder is not None and (place.folder / stored.file).is_dir():
        return CorruptBankError(f"{place.at(stored.file)} is a folder where a file should be: move it away, then {_way_out(stored)}")
    there = f"{place.at(stored.file)} is missing; the manifest lists it with {stored.size_bytes} bytes"
    return CorruptBankError(f"{there}; {_way_out(stored)}")


def _way_out(stored: StoredFile) -> str:
    """An index can be made again from the texts; of all else there is no second copy in the bank."""
    return "make it again with kmem verify --repair-index." if stored.file.startswith("index/") else RESTORE
