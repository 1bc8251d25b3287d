"""One writer an object store's prefix at a time: a lease that is renewed while its holder lives, and runs out when it doesn't.

A lease is a numbered object, created exclusively: of two that want it one gets it, in any store that has conditional puts. Its holder
writes it anew every BEAT_S seconds. Who finds one that looks run out watches it for a while, since clocks of machines differ, and then
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
WATCHED_S = 2 * BEAT_S
"""Seconds in which one that looks run out must not be renewed."""


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
    def fresh(self) -> bool:
        """Whether its holder seems to live: not where that was a process of this machine that is gone."""
        if self.machine and self.machine == _machine() and not Path(f"/proc/{self.pid}").exists():
            return False
        return abs(time.time() - self.renewed) < EXPIRY_S


def lease_of(place: Place) -> Lease | None:
    """The newest lease that can be read."""
    numbers = _numbers(place)
    return _read(place, numbers[-1]) if numbers else None


@contextmanager
def leased(place: Place) -> Iterator[Callable[[], None]]:
    """Hold the place while writing to it → a function that raises BankExistsError once it is lost.

    Raises BankExistsError, naming who holds it, where another one does.
    """
    mine = Lease.mine()
    number = _taken(place, mine)
    stop, lost, renewed = Event(), Event(), [_now()]
    beating = Thread(target=_beat, args=(place, number, mine, stop, lost, renewed), name="kmem-lease", daemon=True)
    beating.start()

    def require_held() -> None:
        if lost.is_set() or _now() - renewed[0] > EXPIRY_S:
            raise BankExistsError(
                f"This build has lost {place} to another one, after {EXPIRY_S:g} seconds in which it could not say that it lives; "
                "when that one has ended, repeat the command with --resume."
            )

    try:
        yield require_held
    finally:
        stop.set()
        beating.join()
        if not lost.is_set():
            with suppress(PlaceError):  # it runs out
                place.remove([_file(number)])


def _taken(place: Place, mine: Lease) -> int:
    """The number of the lease that is now mine. Raises BankExistsError.

    After its own is there it looks for others again: of two that found different numbers free, neither misses the other's.
    """
    numbers = _numbers(place)
    if numbers:
        held = _read(place, numbers[-1])
        if held is not None and (held.fresh or (not _is_gone(held) and _renewed_meanwhile(place, numbers[-1], held))):
            raise _held(place, held)
    number = numbers[-1] + 1 if numbers else 1
    try:
        place.create(_file(number), mine.to_bytes())
    except FileExistsError:
        raise _held(place, _read(place, number)) from None
    if others := [other for other in _numbers(place) if other not in (number, *numbers)]:
        place.remove([_file(number)])
        raise _held(place, _read(place, others[-1]))
    place.remove([_file(older) for older in numbers])
    return number


def _beat(place: Place, number: int, mine: Lease, stop: Event, lost: Event, renewed: list[float]) -> None:
    """Renew it until told to stop, or until it is somebody else's."""
    while not stop.wait(BEAT_S):
        with suppress(PlaceError, OSError):  # the next beat may get through
            there = _read(place, number)
            if there is None or there.owner != mine.owner or _numbers(place)[-1:] != [number] or _now() - renewed[0] > EXPIRY_S:
                lost.set()
                return
            place.replace(_file(number), replace(mine, renewed=time.time()).to_bytes())
            renewed[0] = _now()


def _renewed_meanwhile(place: Place, number: int, held: Lease) -> bool:
    """Whether its holder lives after all."""
    until = _now() + WATCHED_S
    while _now() < until:
        time.sleep(min(1.0, WATCHED_S / 4))
        if _read(place, number) not in (None, held):
            return True
    return False


def _is_gone(held: Lease) -> bool:
    """Whether its holder is known to be, so that nothing has to be waited for."""
    return bool(held.machine) and held.machine == _machine()


def _held(place: Place, held: Lease | None) -> BankExistsError:
    who = "Another build" if held is None else f"Another build (pid {held.pid} on {held.host}, begun {_ago(held.began)})"
    return BankExistsError(
        f"{who} is writing to {place}; wait until it is done, or choose another place: {EXPIRY_S / 60:g} minutes after its last sign of "
        "life it counts as dead."
    )


def _ago(then: float) -> str:
    minutes = round(max(0.0, time.time() - then) / 60)
    return "just now" if not minutes else f"{minutes} minute{'' if minutes == 1 else 's'} ago"


def _numbers(place: Place) -> list[int]:
    names = [file.removeprefix(f"{LEASES}/").removesuffix(".json") for file in place.sizes(LEASES)]
    return sorted(int(name) for name in names if name.isdigit())


def _read(place: Place, number: int) -> Lease | None:
    try:
        return Lease(**json.loads(place.read(_file(number))))
    except (FileNotFoundError, ValueError, TypeError):
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
