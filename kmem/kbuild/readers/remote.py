"""Where URLs lead: object stores through obstore, as banks do, everything else through fsspec. Files are listed, and read by ranges."""

import io
import os
import re
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any, Protocol

import fsspec
from fsspec.utils import glob_translate
from typing_extensions import Buffer

from kmem.errors import ConfigError, MissingDependencyError, PlaceError
from kmem.ranges import Ranges

OBJECT_STORES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl")
"""Read with the library, credentials and endpoint that banks are; fsspec's own packages serve the other schemes."""
WEB = ("http://", "https://")
_RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}


class Remote(Protocol):
    """The files behind a scheme (and bucket), by full URL. What can't be reached raises PlaceError; a missing file FileNotFoundError."""

    def size(self, url: str) -> int:
        """Bytes of a file; -1 where nobody can tell."""
        ...

    def below(self, url: str) -> dict[str, int]:
        """Every file below a folder with its size."""
        ...

    def matching(self, pattern: str) -> dict[str, int]:
        """Every file that a glob matches with its size."""
        ...

    def open(self, url: str) -> io.RawIOBase:
        """A seekable stream of a file."""
        ...


def remote(url: str) -> Remote:
    """What serves the URL. Raises MissingDependencyError where a package is missing and ConfigError for an unknown scheme."""
    scheme = url.partition("://")[0]
    if scheme in OBJECT_STORES:
        root = "/".join(url.split("/")[:3])
        return _object_store(root, os.environ.get("AWS_ENDPOINT_URL"), os.environ.get("AWS_ACCESS_KEY_ID"))
    try:
        return _Fsspec(fsspec.filesystem(scheme))
    except ImportError as error:
        raise MissingDependencyError(f"{url} needs a package that is not installed: {' '.join(str(error).split())}.") from error
    except ValueError as error:
        raise ConfigError(f"{url}: {scheme}:// is no kind of URL that kmem knows; check the spelling.") from error


@lru_cache(maxsize=16)
def _object_store(root: str, endpoint: str | None, key: str | None) -> Remote:
    """One a bucket, so that connections are used again; the environment decides where it is."""
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise MissingDependencyError(f"{root} needs obstore, which is not installed: pip install 'kmem[s3]'.") from error
    try:
        return _ObjectStore(root, from_url(root, client_options={"allow_http": True}, retry_config=_RETRIES))
    except Exception as error:  # what obstore raises for a URL depends on the kind of store
        raise ConfigError(f"{root} names no bucket that obstore understands ({error}); write it like s3://bucket/folder.") from error


class _ObjectStore:
    def __init__(self, root: str, store: Any) -> None:
        self._root, self._store = root, store

    def size(self, url: str) -> int:
        import obstore

        return int(self._asked(url, lambda: obstore.head(self._store, self._name(url))["size"]))

    def below(self, url: str) -> dict[str, int]:
        import obstore

        prefix = self._name(url).rstrip("/")
        pages = self._asked(url, lambda: list(obstore.list(self._store, prefix=f"{prefix}/" if prefix else None)))
        return {f"{self._root}/{entry['path']}": entry["size"] for page in pages for entry in page}

    def matching(self, pattern: str) -> dict[str, int]:
        plain = re.split(r"[*?\[]", pattern)[0]
        fits = re.compile(glob_translate(pattern))
        return {url: size for url, size in self.below(plain.rpartition("/")[0]).items() if fits.match(url)}

    def open(self, url: str) -> io.RawIOBase:
        import obstore

        name = self._name(url)

        def read(start: int, end: int) -> bytes:
            return bytes(self._asked(url, lambda: obstore.get_range(self._store, name, start=start, end=end)))

        return Ranges(self.size(url), read)

    def _name(self, url: str) -> str:
        return url.removeprefix(self._root).lstrip("/")

    def _asked(self, url: str, ask: Callable[[], Any]) -> Any:
        from obstore.exceptions import BaseError

        try:
            return ask()
        except FileNotFoundError:
            raise
        except BaseError as error:
            raise unreachable(url, error) from error


class _Fsspec:
    def __init__(self, system: Any) -> None:
        self._system = system

    def size(self, url: str) -> int:
        info = self._asked(url, lambda: self._system.info(self._name(url)))
        if info["type"] == "directory":
            raise FileNotFoundError(url)
        return -1 if info["size"] is None else int(info["size"])

    def below(self, url: str) -> dict[str, int]:
        return self._sizes(self._asked(url, lambda: self._system.find(self._name(url), detail=True)))

    def matching(self, pattern: str) -> dict[str, int]:
        found = self._asked(pattern, lambda: self._system.glob(self._name(pattern), detail=True))
        return self._sizes({name: info for name, info in found.items() if info["type"] == "file"})

    def open(self, url: str) -> io.RawIOBase:
        return _File(self._asked(url, lambda: self._system.open(self._name(url), "rb")))

    def _name(self, url: str) -> str:
        return str(self._system._strip_protocol(url))

    def _sizes(self, found: dict[str, dict[str, Any]]) -> dict[str, int]:
        return {self._system.unstrip_protocol(name): -1 if info["size"] is None else int(info["size"]) for name, info in found.items()}

    def _asked(self, url: str, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except (FileNotFoundError, PermissionError):
            raise
        except OSError as error:
            raise unreachable(url, error) from error


class _File(io.RawIOBase):
    """A file of fsspec: many of theirs have no bounded readline."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        data = self._file.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def unreachable(url: str, error: Exception) -> PlaceError:
    """What goes wrong on the way says nothing about the bytes."""
    said = " ".join(str(error).split("Debug source:")[0].split())[-160:] or type(error).__name__
    return PlaceError(f"Could not read {url} ({said}); check address, credentials and network.")
