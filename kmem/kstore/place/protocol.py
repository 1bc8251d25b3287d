"""What the store asks of the place where a bank's files are."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from typing_extensions import Buffer

RESTORE = "restore the file from a copy or rebuild the bank (kmem build)."
"""What to do about a damaged file."""


class Span(NamedTuple):
    """`len(out)` bytes of a file from `start` on, and where they go. file_bytes: the length the file must have."""

    file: str
    file_bytes: int
    start: int
    out: memoryview


class Place(Protocol):
    """A tree of files, named by `/`-separated paths relative to its root.

    A file appears whole or not at all, and is durable when the call that wrote it returns. Safe to use from threads.
    """

    @property
    def folder(self) -> Path | None:
        """The folder of this machine that it is; None in an object store."""
        ...

    def at(self, file: str) -> str:
        """Full name of a file, for people."""
        ...

    def sizes(self, below: str = "") -> Mapping[str, int]:
        """Length of every file below a folder, by path; empty where there is nothing."""
        ...

    def lengths(self, files: Iterable[str]) -> Mapping[str, int]:
        """Length of each of these files, by path; those that are not there are left out. What else is there costs next to nothing."""
        ...

    def read(self, file: str) -> bytes:
        """All bytes of a file. Raises FileNotFoundError, CorruptBankError for a folder, and other OSErrors where it can't be read."""
        ...

    def replace(self, file: str, data: Buffer) -> None:
        """Write a file, in place of an older one if there is any."""
        ...

    def replace_stream(self, file: str, parts: Iterable[Buffer]) -> None:
        """The same from parts, each a piece of some megabytes; no more than a few are in memory at a time."""
        ...

    def create(self, file: str, data: Buffer) -> None:
        """Write a file that is not there. Raises FileExistsError if it is: of two writers exactly one succeeds."""
        ...

    def remove(self, files: Iterable[str]) -> None:
        """Delete files, and folders that become empty; what is not there is passed over."""
        ...

    def hold(self, file: str) -> Callable[[], None]:
        """Say that a file is in use, until the function given back is called; the end of the process says so, too.

        Raises FileNotFoundError.
        """
        ...

    def remove_unless_held(self, file: str) -> bool:
        """Delete a file unless someone may hold it → whether it is gone; an object store can't tell who does, so there it stays."""
        ...

    def fetch(self, spans: Sequence[Span], *, cold: bool = False) -> None:
        """Fill every span's buffer; `cold` says that the bytes were probably not read before.

        Raises CorruptBankError for a file that is missing or has another length.
        """
        ...

    def tidy(self) -> None:
        """Delete what interrupted writers left; call it only when no writer is at work."""
        ...

    def close(self) -> None:
        """Let go of what reading holds open."""
        ...

    def __str__(self) -> str:
        """Folder or URL."""
        ...
