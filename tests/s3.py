"""An object store for tests: moto's server, asked over real HTTP."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import enumerate as threads
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer

from kmem.kstore import lease
from kmem.kstore.claim import LEASES
from kmem.kstore.lease import Lease
from kmem.kstore.place import Place


@contextmanager
def served() -> Iterator[str]:
    """The address of a server that lives as long as this."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def use_bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point the environment at the server and empty it → a prefix in a bucket of it."""
    for name, value in (("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test"), ("REGION", "us-east-1"), ("ENDPOINT_URL", endpoint)):
        monkeypatch.setenv(f"AWS_{name}", value)
    urlopen(Request(f"{endpoint}/moto-api/reset", method="POST")).close()
    urlopen(Request(f"{endpoint}/banks", method="PUT")).close()
    return "s3://banks/some/bank"


def take_over(place: Place) -> None:
    """Another one takes the lease of whoever holds the place, who knows it when this returns. It must have begun with `quick_beats`."""
    place.replace(f"{LEASES}/000002.json", Lease.mine().to_bytes())
    deadline = time.monotonic() + 60
    while any(thread.name == "kmem-lease" for thread in threads()):
        assert time.monotonic() < deadline, "the holder never noticed"
        time.sleep(0.01)


def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are renewed every moment from now on."""
    monkeypatch.setattr(lease, "BEAT_S", 0.01)
