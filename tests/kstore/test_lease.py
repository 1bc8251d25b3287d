"""Leases in an object store (moto's server): one holder, the dead one's is taken over, and who has lost one is told."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from threading import Barrier, Thread

import pytest
from typing_extensions import Buffer

from kmem.errors import BankExistsError
from kmem.kstore import lease
from kmem.kstore.claim import LEASES
from kmem.kstore.lease import EXPIRY_S, Lease, lease_of, leased
from kmem.kstore.place import Place, place_of
from kmem.kstore.place.remote import RemotePlace
from kmem.pipelines.receipts import Receipts
from tests import s3

FIRST, SECOND = f"{LEASES}/000001.json", f"{LEASES}/000002.json"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3.served() as endpoint:
        yield endpoint


@pytest.fixture
def place(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(lease, "WATCHED_S", 0.2)
    return place_of(s3.use_bucket(endpoint, monkeypatch))


def test_one_holds_it_and_leaves_nothing(place: Place) -> None:
    with leased(place) as require_held:
        require_held()
        with pytest.raises(BankExistsError, match=rf"pid {os.getpid()} on {socket.gethostname()}, begun just now"), leased(place):
            pass
        assert lease_of(place) is not None
    assert not place.sizes()
    with leased(place):
        pass


def test_of_many_that_begin_at_once_at_most_one_holds_it(place: Place) -> None:
    holding, refused, gate = ExitStack(), [], Barrier(6)
    held: list[Callable[[], None]] = []

    def begin() -> None:
        gate.wait()
        try:
            held.append(holding.enter_context(leased(place)))
        except BankExistsError as error:
            refused.append(error)

    threads = [Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 5)
    with holding:
        held[0]()
    assert not place.sizes()


def test_a_dead_holder_is_followed(place: Place) -> None:
    """At once where it was a process of this machine, else when it has given no sign of life for long, also while it is watched."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    elsewhere = replace(Lease.mine(), machine="another", host="far")
    file, old = f"{LEASES}/000007.json", time.time() - 2 * EXPIRY_S
    for dead in (replace(Lease.mine(), pid=gone.pid), replace(elsewhere, renewed=old), replace(elsewhere, renewed=time.time() + 9999)):
        place.replace(file, dead.to_bytes())
        with leased(place) as require_held:
            assert list(place.sizes()) == [f"{LEASES}/000008.json"]
            require_held()
    place.replace(file, elsewhere.to_bytes())
    with pytest.raises(BankExistsError, match="on far"), leased(place):
        pass


@contextmanager
def meanwhile(*changes: Callable[[], None]) -> Iterator[None]:
    """They are made while somebody watches."""

    def change() -> None:
        time.sleep(0.3)
        for each in changes:
            each()

    changing = Thread(target=change)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "WATCHED_S", 2.0)
        changing.start()
        yield
        changing.join()


@pytest.mark.parametrize("machine", ["another", Lease.mine().machine])
def test_a_clock_that_is_wrong_kills_nobody(place: Place, machine: str) -> None:
    """Its lease looks run out, but is renewed while it is watched, also on this machine, where its process is there."""
    slow = replace(Lease.mine(), machine=machine, renewed=0.0)
    place.replace(FIRST, slow.to_bytes())
    renewed = replace(slow, renewed=15.0).to_bytes()
    with meanwhile(lambda: place.replace(FIRST, renewed)), pytest.raises(BankExistsError, match="Another build"), leased(place):
        pass
    assert place.read(FIRST) == renewed


def test_one_that_cannot_be_read_is_watched(place: Place) -> None:
    """As that of a later kmem may be."""
    later = Lease.mine().to_bytes()[:-1] + b', "more": 1}'
    place.replace(FIRST, later)
    with (
        meanwhile(lambda: place.replace(FIRST, later + b" ")),
        pytest.raises(BankExistsError, match="Another build is writing"),
        leased(place),
    ):
        pass
    with leased(place):
        assert list(place.sizes()) == [SECOND]


def test_what_was_listed_is_looked_at_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that goes away while it is watched leaves the place to nobody, or to another one; nobody's may be somebody's since."""
    dead = replace(Lease.mine(), machine="another", renewed=0.0)
    place.replace(FIRST, dead.to_bytes())
    with meanwhile(lambda: place.remove([FIRST])), leased(place):
        assert list(place.sizes()) == [FIRST]
    place.replace(SECOND, dead.to_bytes())
    begun = Lease.mine().to_bytes()
    changes = (lambda: place.remove([SECOND]), lambda: place.replace(FIRST, begun))
    with meanwhile(*changes), pytest.raises(BankExistsError, match="begun just now"), leased(place):
        pass
    assert place.read(FIRST) == begun
    place.replace(FIRST, dead.to_bytes())
    create = RemotePlace.create

    def late(remote: RemotePlace, file: str, data: Buffer) -> None:
        remote.replace(FIRST, begun)
        create(remote, file, data)

    monkeypatch.setattr(RemotePlace, "create", late)
    with pytest.raises(BankExistsError, match="begun just now"), leased(place):
        pass
    assert place.read(FIRST) == begun
    assert list(place.sizes()) == [FIRST]


def test_who_leaves_removes_only_its_own(place: Place) -> None:
    """It may have slept, and numbers begin anew where none is left."""
    another = Lease.mine().to_bytes()
    with leased(place):
        place.replace(FIRST, another)
    assert place.read(FIRST) == another


def test_it_counts_from_before_it_was_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    create = RemotePlace.create

    def slowly(remote: RemotePlace, file: str, data: Buffer) -> None:
        time.sleep(0.3)
        create(remote, file, data)

    monkeypatch.setattr(RemotePlace, "create", slowly)
    monkeypatch.setattr(lease, "EXPIRY_S", 0.25)
    with leased(place) as require_held, pytest.raises(BankExistsError, match="This process has lost"):
        require_held()


def test_what_a_build_leaves_behind_is_discarded_but_for_its_lease(place: Place) -> None:
    with leased(place) as require_held:
        place.replace("build/executor.json", b"{}")
        Receipts(place).discard()
        assert list(place.sizes()) == [FIRST]
        require_held()


def test_it_is_renewed_and_who_loses_it_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.02)
    with leased(place) as require_held:
        first = lease_of(place)
        time.sleep(0.3)
        assert lease_of(place) != first
        require_held()
        place.replace(f"{LEASES}/000002.json", Lease.mine().to_bytes())
        time.sleep(0.3)
        with pytest.raises(BankExistsError, match="This process has lost"):
            require_held()
    assert list(place.sizes()) == [SECOND]  # the other one's is left alone
