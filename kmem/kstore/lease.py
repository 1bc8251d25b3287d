"""One writer an object store's prefix at a time: a lease that is renewed while its holder lives, and runs out when it doesn't.

A lease is a numbered object, created exclusively: of two that want it one gets it, in any store that has conditional puts. Its holder
writes it anew every BEAT_S seconds. Who finds one that looks run out watches it for WATCHED_S, since clocks of machines differ, and then
creates the next number. A holder that could not renew its own for EXPIRY_S seconds, or finds another one, stops writing.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

from kmem.errors import BankExistsError, PlaceError
from kmem.kstore.claim import LEASES
from kmem.kstore.place import Place

BEAT_S = 15.0
"""Seconds between two renewals."""
EXPIRY_S = 180.0
"""Seconds after which a lease that was not renewed is nobody's."""
WATCHED_S = EXPIRY_S
"""Seconds in which one that looks run out must not change; its holder then knows by its own clock that it has lost it."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Who writes. owner: a random name. machine: of what the pid is one, as far as that can be told. began, renewed: by its own clock."""

    owner: str
    host: str
    machine: str
    pid: int
    began: float
    renewed: float

    @classmethod
    def mine(cls) -> "Lease":
        now = time.time()
        return cls(owner=uuid4().hex, host=socket.gethostname(), machine=_machine(), pid=os.getpid(), began=now, renewed=now)

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @property
    def dead(self) -> bool:
        """Whether its holder is known to be gone: a process of this machine of which the kernel says that there is none."""
        if not self.machine or self.machine != _machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # somebody else's process
            return False
        return False

    @property
    def fresh(self) -> bool:
        """Whether its holder seems to live."""
        return not self.dead and abs(time.time() - self.renewed) < EXPIRY_S


def lease_of(place: Place) -> Lease | None:
    """The newest lease, None where there is none or it can't be read."""
    found = _found(place)
    return _lease(found[max(found)]) if found else None


@contextmanager
def leased(place: Place) -> Iterator[Callable[[], None]]:
    """Hold the place while writing to it → a function that raises BankExistsError once it is lost.

    Raises BankExistsError, naming who holds it, where another one does.
    """
    number, mine, taken = _taken(place)
    stop, lost, renewed = Event(), Event(), [taken]
    beating = Thread(target=_beat, args=(place, number, mine, stop, lost, renewed), name="kmem-lease", daemon=True)
    beating.start()

    def require_held() -> None:
        if lost.is_set() or _now() - renewed[0] > EXPIRY_S:
            raise BankExistsError(
                f"This process has lost {place} to another one, after {EXPIRY_S:g} seconds in which it could not say that it lives; "
                "when that one has ended, repeat the command (kmem build with --resume)."
            )

    try:
        yield require_held
    finally:
        stop.set()
        beating.join()
        with suppress(PlaceError):  # it runs out
            if _is_of(mine, _found(place).get(number)):  # numbers begin anew where none is left: it may be another one's by now
                place.remove([_file(number)])


def _taken(place: Place) -> tuple[int, Lease, float]:
    """The number of the lease that is now mine, the lease, and when it was, at the latest, not yet written. Raises BankExistsError.

    After its own is there it looks for others again: of two that found different numbers free, neither misses the other's, and one
    that was nobody's must still be what it was.
    """
    free = _nobodys(place)
    number, mine, before = max(free, default=0) + 1, Lease.mine(), _now()
    try:
        place.create(_file(number), mine.to_bytes())
    except FileExistsError:
        raise _held(place, _found(place).get(number)) from None
    others = [content for other, content in _found(place).items() if other != number and free.get(other) != content]
    if others:
        place.remove([_file(number)])
        raise _held(place, others[-1])
    place.remove([_file(older) for older in free])
    return number, mine, before


def _nobodys(place: Place) -> dict[int, bytes]:
    """All leases that are there, once each is known to be nobody's. Raises BankExistsError.

    Where a dead holder can't be told from one that is slow, or its lease can't be read, it must stay as it is for WATCHED_S.
    """
    found, since = _found(place), _now()
    leases = {number: _lease(content) for number, content in found.items()}
    for lease in leases.values():
        if lease is not None and lease.fresh:
            raise _held(place, lease.to_bytes())
    while any((lease := leases[number]) is None or not lease.dead for number in found) and _now() - since <= WATCHED_S:
        time.sleep(min(1.0, WATCHED_S / 4))
        there = _found(place)
        for number, content in there.items():
            if found.get(number) != content:
                raise _held(place, content)
        found = there  # some may be gone
    return found


def _beat(place: Place, number: int, mine: Lease, stop: Event, lost: Event, renewed: list[float]) -> None:
    """Renew it until told to stop, or until it is somebody else's."""
    while not stop.wait(BEAT_S):
        with suppress(PlaceError, OSError):  # the next beat may get through
            if _now() - renewed[0] > EXPIRY_S or not _is_newest(place, number, mine):
                lost.set()
                return
            before = _now()
            place.replace(_file(number), replace(mine, renewed=time.time()).to_bytes())
            if not _is_newest(place, number, mine):  # it may have been taken over while this was on its way
                lost.set()
                return
            renewed[0] = before


def _is_newest(place: Place, number: int, mine: Lease) -> bool:
    """Whether it is still there, and no later one."""
    found = _found(place)
    return max(found, default=0) == number and _is_of(mine, found[number])


def _is_of(mine: Lease, content: bytes | None) -> bool:
    lease = _lease(content)
    return lease is not None and lease.owner == mine.owner


def _held(place: Place, content: bytes | None) -> BankExistsError:
    held = _lease(content)
    who = "Another build" if held is None else f"Another build (pid {held.pid} on {held.host}, begun {_ago(held.began)})"
    return BankExistsError(
        f"{who} is writing to {place}; wait until it is done, or choose another place: after {EXPIRY_S / 60:g} minutes without a sign "
        f"of life it is watched for {WATCHED_S / 60:g} more, and then counts as dead."
    )


def _ago(then: float) -> str:
    minutes = round(max(0.0, time.time() - then) / 60)
    return "just now" if not minutes else f"{minutes} minute{'' if minutes == 1 else 's'} ago"


def _found(place: Place) -> dict[int, bytes]:
    """What is in every lease that is there, by ascending number."""
    names = [file.removeprefix(f"{LEASES}/").removesuffix(".json") for file in place.sizes(LEASES)]
    found = dict[int, bytes]()
    for number in sorted(int(name) for name in names if name.isdigit()):
        with suppress(FileNotFoundError):  # removed since it was listed
            found[number] = place.read(_file(number))
    return found


def _lease(content: bytes | None) -> Lease | None:
    """None where it can't be read, as one of a later kmem may not be."""
    try:
        return None if content is None else Lease(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _file(number: int) -> str:
    return f"{LEASES}/{number:06d}.json"


def _machine() -> str:
    """This machine since it was started, and the numbering of its processes that this one sees; "" where that can't be told."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _now() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME if hasattr(time, "CLOCK_BOOTTIME") else time.CLOCK_MONOTONIC)
