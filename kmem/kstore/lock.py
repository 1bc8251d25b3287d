"""One writer a place at a time: a lock that the kernel lets go of when its process ends, however it ends; in an object store a lease."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kmem.errors import BankExistsError
from kmem.kstore.claim import LOCK
from kmem.kstore.lease import leased
from kmem.kstore.place import Place
from kmem.progress import Progress


@contextmanager
def locked(place: Place) -> Iterator[Callable[[], None]]:
    """Hold the place while writing to it. Raises BankExistsError, naming the process, when another one holds it.

    Gives a function that raises BankExistsError once the place is somebody else's, as a lease can be; who writes for long asks it
    often (`asking`), and everybody right before the commit and before deleting what others may have written.
    """
    if place.folder is None:
        with leased(place) as require_held:
            yield require_held
        return
    path = place.folder / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held(place, path) from None
        with suppress(OSError):  # the pid is for people; on a full disk the lock must do without
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), str(os.getpid()).encode())
        yield kept


def require_nobody_at_work(place: Place) -> None:
    """Raise BankExistsError where another process holds a folder just now; nothing is held afterwards. Of another place nothing is known
    before its lease is taken.
    """
    if holder(place) is not None and place.folder is not None:
        raise _held(place, place.folder / LOCK)


def holder(place: Place) -> str | None:
    """The pid of whoever holds a folder, as far as it is told; None where nobody does, or it is no folder."""
    if place.folder is None:
        return None
    try:
        with (place.folder / LOCK).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _told(file.read())
    except OSError:
        return None
    return None


def _told(content: str) -> str:
    return content.strip() or "unknown"


def _held(place: Place, lock: Path) -> BankExistsError:
    return BankExistsError(
        f"Another build (pid {_told(lock.read_text())}) is writing to {place}; wait until it is done, or choose another place."
    )


def kept() -> None:
    """Asks whether a place is held still that can't be lost: the kernel takes no lock away."""


def asking(require_held: Callable[[], None], progress: Progress) -> Progress:
    """The same progress, which ends the work of who writes into what is no longer its own."""

    def report(stage: str, done: int, total: int) -> None:
        require_held()
        progress(stage, done, total)

    return report
