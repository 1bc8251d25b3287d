"""Leases in an object store (moto's server): one holder, the dead one's is taken over, and who has lost one is told."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from threading import Barrier, Thread

import pytest

from kmem.errors import BankExistsError
from kmem.kstore import lease
from kmem.kstore.claim import LEASES
from kmem.kstore.lease import EXPIRY_S, Lease, lease_of, leased
from kmem.kstore.place import Place, place_of
from tests import s3


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


def test_a_clock_that_is_wrong_kills_nobody(place: Place) -> None:
    """Its lease looks run out, but is renewed while it is watched."""
    slow, file = replace(Lease.mine(), machine="another", renewed=0.0), f"{LEASES}/000001.json"
    place.replace(file, slow.to_bytes())

    def renew() -> None:
        time.sleep(0.05)
        place.replace(file, replace(slow, renewed=15.0).to_bytes())

    renewing = Thread(target=renew)
    renewing.start()
    with pytest.raises(BankExistsError, match="Another build"), leased(place):
        pass
    renewing.join()


def test_it_is_renewed_and_who_loses_it_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.02)
    with leased(place) as require_held:
        first = lease_of(place)
        time.sleep(0.3)
        assert lease_of(place) != first
        require_held()
        place.replace(f"{LEASES}/000002.json", Lease.mine().to_bytes())
        time.sleep(0.3)
        with pytest.raises(BankExistsError, match="This build has lost"):
            require_held()
    assert list(place.sizes()) == [f"{LEASES}/000001.json", f"{LEASES}/000002.json"]  # the other one's is left alone
