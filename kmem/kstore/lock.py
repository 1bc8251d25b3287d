"""One writer a place at a time: a lock that the kernel lets go of when its process ends, however it ends; in an object store a lease."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

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
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise BankExistsError(
                f"Another build (pid {holder}) is writing to {place}; wait until it is done, or choose another place."
            ) from None
        with suppress(OSError):  # the pid is for people; on a full disk the lock must do without
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), str(os.getpid()).encode())
        yield kept


def kept() -> None:
    """Asks whether a place is held still that can't be lost: the kernel takes no lock away."""


def asking(require_held: Callable[[], None], progress: Progress) -> Progress:
    """The same progress, which ends the work of who writes into what is no longer its own."""

    def report(stage: str, done: int, total: int) -> None:
        require_held()
        progress(stage, done, total)

    return report
