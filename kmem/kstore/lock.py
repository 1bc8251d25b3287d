"""One writer a folder at a time: a lock that the kernel lets go of when its process ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kmem.errors import BankExistsError
from kmem.kstore.claim import LOCK
from kmem.kstore.place import Place


@contextmanager
def locked(place: Place) -> Iterator[None]:
    """Hold the folder while writing to it. Raises BankExistsError, naming the process, when another one holds it.

    An object store has no locks, and needs none: two builds of one configuration write the same bytes, and only one commits.
    """
    if place.folder is None:
        yield
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
        yield
