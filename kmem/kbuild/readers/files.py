"""Bytes of local files and URLs: opened, measured, and unpacked while they are read."""

import io
import os
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

import zstandard
from typing_extensions import Buffer

from kmem.errors import PlaceError, UnreadableError
from kmem.kbuild.readers.remote import WEB, remote

_STEP_BYTES = 1024
"""Packed bytes that are unpacked at a time: what is lost before the place where a file is damaged."""
_BUFFER_BYTES = 1 << 20
_REMOTE_BYTES = 8 << 20
"""One request."""
_RATIO = 4
"""Text shrinks to about a quarter."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


PACKED: dict[str, Callable[[], _Decompressor]] = {
    ".gz": lambda: zlib.decompressobj(31),
    ".dz": lambda: zlib.decompressobj(31),
    ".zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
}


def is_url(path: str) -> bool:
    """Whether it names a file by scheme."""
    return "://" in path


def file_name(path: str) -> str:
    """The path whose end tells the format: of a web address without what follows `?` or `#`."""
    return urlsplit(path).path if path.startswith(WEB) else path


def unpacked_name(path: str) -> str:
    """The name without the suffix that says it is packed, in lower case."""
    name = file_name(path).lower()
    return next((name.removesuffix(suffix) for suffix in (".gz", ".zst") if name.endswith(suffix)), name)


def packing(path: str) -> Callable[[], _Decompressor] | None:
    """How the file is packed, by its name; None for plain ones."""
    name = file_name(path).lower()
    return next((make for suffix, make in PACKED.items() if name.endswith(suffix)), None)


def is_file(path: str) -> bool:
    """Whether there is such a file."""
    if not is_url(path):
        return os.path.isfile(path)
    try:
        remote(path).size(path)
    except FileNotFoundError:
        return False
    return True


def size_of(path: str) -> int:
    """Bytes of the file as it lies there; -1 where nobody can tell. Raises UnreadableError, and PlaceError where a URL can't be reached."""
    try:
        return remote(path).size(path) if is_url(path) else os.stat(path).st_size
    except PlaceError:
        raise
    except OSError as error:
        raise cant_be_opened(path, error) from error


def unpacked_size(path: str, size: int) -> int:
    """About how many bytes a file of `size` bytes holds."""
    return max(0, size) * (_RATIO if packing(path) else 1)


def raw(path: str) -> io.BufferedReader:
    """The file's bytes as they lie there, seekable. Raises UnreadableError, and PlaceError where a URL can't be reached."""
    try:
        return io.BufferedReader(remote(path).open(path), _REMOTE_BYTES) if is_url(path) else open(path, "rb")
    except PlaceError:
        raise
    except OSError as error:
        raise cant_be_opened(path, error) from error


def opened(path: str) -> io.BufferedReader:
    """The file's bytes, unpacked as they are read where its name ends in `.gz`, `.dz` or `.zst`. Raises UnreadableError.

    What comes before the place where a packed file is damaged is read; then reading raises UnreadableError.
    """
    make = packing(path)
    stream = raw(path)
    return stream if make is None else io.BufferedReader(_Unpacked(path, stream, make), _BUFFER_BYTES)


def cant_be_opened(path: str, error: OSError) -> UnreadableError:
    said = error.strerror or (" ".join(str(error).split()) or type(error).__name__)[:160]
    return UnreadableError("can't be opened", f"{path} can't be read ({said}): check the path and its permissions.")


class _Unpacked(io.RawIOBase):
    """Unpacks a stream, one member after another."""

    def __init__(self, path: str, stream: BinaryIO, make: Callable[[], _Decompressor]) -> None:
        self._path, self._stream, self._make = path, stream, make
        self._decompressor: _Decompressor | None = None
        self._packed = self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        while not self._ready:
            if not self._more():
                return 0
        taken = self._ready[: len(view)]
        view[: len(taken)] = taken
        self._ready = self._ready[len(taken) :]
        return len(taken)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

    def _more(self) -> bool:
        """Unpack the next step; False at the end."""
        self._packed = self._packed or self._stream.read(_STEP_BYTES)
        if self._decompressor is None:
            if not self._packed:
                return False
            self._packed = self._packed.lstrip(b"\0")  # tapes pad with them
            if not self._packed:
                return True
            self._decompressor = self._make()
        if not self._packed:
            raise UnreadableError("cut off", f"{self._path} ends too early: fetch it, or pack it, again.")
        try:
            self._ready = self._decompressor.decompress(self._packed)
        except (zlib.error, zstandard.ZstdError) as error:
            raise UnreadableError(
                "damaged", f"{self._path} is not intact ({' '.join(str(error).split())}): fetch it, or pack it, again."
            ) from error
        self._packed = b""
        if self._decompressor.eof:
            self._packed, self._decompressor = self._decompressor.unused_data, None
        return True
