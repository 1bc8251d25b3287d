"""A folder of this machine: files that reach the disk whole or not at all, and are read through memory maps.

A file is written under a temporary name, flushed to the device, and only then given its own name: a reader, a resumed
build or a `kill -9` sees the old file, no file, or the whole new one.
"""

import fcntl
import mmap
import os
import stat
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock

from typing_extensions import Buffer

from kmem.errors import CorruptBankError
from kmem.kstore.place.protocol import RESTORE, Span
from kmem.kstore.place.writeback import start_writeback

KEPT_MAPS = 256
"""Files that reading holds open at a time."""
PARTIAL_SUFFIX = ".partial"
"""Ending of a temporary name; whatever carries it was never finished."""


class LocalPlace:
    """A folder, which need not be there yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = str(folder)
        self._maps: OrderedDict[str, _Mapped] = OrderedDict()
        self._lock = Lock()

    @property
    def folder(self) -> Path:
        return self._folder

    def __str__(self) -> str:
        return self._root

    def at(self, file: str) -> str:
        return str(self._folder / file)

    def sizes(self, below: str = "") -> Mapping[str, int]:
        """Temporary files are left out, and those that a compaction deletes between being listed and being looked at."""
        return dict(sorted(_listed(str(self._folder / below), f"{below}/" if below else "")))

    def lengths(self, files: Iterable[str]) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for file in files:
            with suppress(FileNotFoundError, NotADirectoryError):
                there = os.stat(f"{self._root}/{file}")
                if stat.S_ISREG(there.st_mode):
                    found[file] = there.st_size
        return found

    def read(self, file: str) -> bytes:
        try:
            return (self._folder / file).read_bytes()
        except IsADirectoryError as error:
            raise _folder_there(self._folder / file) from error

    def replace(self, file: str, data: Buffer) -> None:
        self.replace_stream(file, (data,))

    def replace_stream(self, file: str, parts: Iterable[Buffer]) -> None:
        target = self._folder / file
        unfinished = _write_partial(target, parts)
        try:
            os.replace(unfinished, target)
        except IsADirectoryError as error:
            unfinished.unlink(missing_ok=True)
            raise _folder_there(target) from error
        _sync_folder(target.parent)

    def create(self, file: str, data: Buffer) -> None:
        """By a hard link; where the file system has none, by a rename while the folder is locked: never a file that is cut short."""
        target = self._folder / file
        unfinished = _write_partial(target, (data,))
        try:
            os.link(unfinished, target)
        except FileExistsError:
            raise
        except OSError:
            with _locked_folder(target.parent):
                if target.exists():
                    raise FileExistsError(str(target)) from None
                os.replace(unfinished, target)
        finally:
            unfinished.unlink(missing_ok=True)
        _sync_folder(target.parent)

    def remove(self, files: Iterable[str]) -> None:
        for file in files:
            path = self._folder / file
            path.unlink(missing_ok=True)
            with suppress(OSError):  # a folder that still holds something stays
                while (path := path.parent) != self._folder:
                    path.rmdir()

    def hold(self, file: str) -> Callable[[], None]:
        """A shared lock of the kernel's. Whoever is about to delete the file is waited for: then it is gone, or stays."""
        held = os.open(self._folder / file, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks: then pruning sees nobody
            fcntl.flock(held, fcntl.LOCK_SH)
        if not (self._folder / file).exists():  # deleted before the lock was there
            os.close(held)
            raise FileNotFoundError(file)
        return partial(os.close, held)

    def remove_unless_held(self, file: str) -> bool:
        """Under an exclusive lock, so that nobody takes hold of the file between the question and the deletion."""
        with (self._folder / file).open("r+b") as asked:  # NFS locks only what could be written
            try:
                fcntl.flock(asked, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # held, or a file system without locks, where nobody can tell
                return False
            self.remove([file])
        return True

    def fetch(self, spans: Sequence[Span], *, cold: bool = False) -> None:
        """Where the bytes are probably on disk, all are asked for before the first is waited for."""
        maps = {file: self._mapped(file, file_bytes) for file, file_bytes in {span[:2] for span in spans}}
        if cold:
            for file, _, start, out in spans:
                maps[file].will_need(start, len(out))
        views = {file: mapped.require_whole() for file, mapped in maps.items()}
        for file, _, start, out in spans:
            out[:] = views[file][start : start + len(out)]

    def _mapped(self, file: str, file_bytes: int) -> "_Mapped":
        mapped = self._maps.get(file)
        if mapped is None:
            mapped = _Mapped(self._folder / file, file_bytes)
            with self._lock:
                self._maps[file] = mapped
                if len(self._maps) > KEPT_MAPS:  # each holds a descriptor
                    self._maps.popitem(last=False)
        return mapped

    def tidy(self) -> None:
        for unfinished in self._folder.rglob(f"*{PARTIAL_SUFFIX}"):
            unfinished.unlink(missing_ok=True)

    def close(self) -> None:
        self._maps = OrderedDict()


class _Mapped:
    """A file of a known length above zero, mapped; it lives as long as someone uses it, so a reader in another thread never loses it."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path, self._size_bytes = path, size_bytes
        try:
            with path.open("rb") as file:
                self._require_length(os.fstat(file.fileno()).st_size)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # it holds the file by a descriptor of its own
        except (FileNotFoundError, NotADirectoryError):
            raise CorruptBankError(f"{path} is missing; {RESTORE}") from None
        except IsADirectoryError as error:
            raise _folder_there(path) from error
        self._view = memoryview(self._map)

    def require_whole(self) -> memoryview:
        """The bytes. Touching a map past the end of a file that was cut since would end the process, so its length is asked again."""
        self._require_length(self._map.size())
        return self._view

    def will_need(self, start: int, length: int) -> None:
        """Have the kernel read these bytes now, and no more: what it would read ahead of a page fault are mostly other memories."""
        page = start - start % mmap.PAGESIZE
        self._map.madvise(mmap.MADV_WILLNEED, page, start + length - page)

    def _require_length(self, actual: int) -> None:
        if actual != self._size_bytes:
            raise CorruptBankError(f"{self._path} has {actual} bytes where {self._size_bytes} were written; {RESTORE}")


def _listed(folder: str, before: str) -> Iterator[tuple[str, int]]:
    """Name, `before` in front, and length of every file of a folder and of those below it."""
    try:
        entries = os.scandir(folder)
    except OSError:  # what can't be listed holds nothing for us
        return
    with entries as found:
        for entry in found:
            if entry.is_dir():
                if not entry.is_symlink():
                    yield from _listed(entry.path, f"{before}{entry.name}/")
            elif not entry.name.endswith(PARTIAL_SUFFIX):
                with suppress(FileNotFoundError):
                    yield before + entry.name, entry.stat().st_size


def _folder_there(path: Path) -> CorruptBankError:
    return CorruptBankError(f"{path} is a folder where a file should be: delete it, then {RESTORE}")


def _write_partial(target: Path, parts: Iterable[Buffer]) -> Path:
    _make_folder(target.parent)
    unfinished = target.with_name(f"{target.name}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}")
    try:
        _write_new(unfinished, parts)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        if error.errno is not None and error.filename is None:  # a full disk names no file; our own errors say all they have to
            error.filename = str(target)
        raise
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return unfinished


def _write_new(path: Path, parts: Iterable[Buffer]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        for part in parts:
            left = memoryview(part).cast("B")
            while len(left):  # the system takes up to 2 GiB at a time, and a full disk less than all of it
                left = left[os.write(descriptor, left) :]
            start_writeback(descriptor)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
