"""An object store in this process: moto's S3 behind real HTTP on this machine, which counts what it is asked and what it answers."""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HOST, BUCKET = "127.0.0.1", "bench"
NEEDED = ("obstore", "moto")
"""Packages of the extra `bench` that this takes."""


def missing_packages() -> list[str]:
    """Those of NEEDED that are not here."""
    return [name for name in NEEDED if find_spec(name) is None]


@dataclass
class Traffic:
    """How many requests were answered, and how many bytes the bodies of the answers had, since the last `reset`."""

    requests: int = 0
    body_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        """Begin again at nothing."""
        with self._lock:
            self.requests = self.body_bytes = 0

    def count(self, body_bytes: int) -> None:
        """One more answer."""
        with self._lock:
            self.requests += 1
            self.body_bytes += body_bytes


@contextmanager
def counted_store() -> Iterator[tuple[str, Traffic]]:
    """URL of an empty bucket and its traffic. For as long, the environment says where that store is and who may use it."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    class Quiet(MotoRequestHandler):
        """Werkzeug would write a line a request to standard error."""

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    traffic = Traffic()
    app = _counting(DomainDispatcherApplication(create_backend_app), traffic)
    server = make_server(HOST, 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with _environment(f"http://{HOST}:{server.server_port}"):
            _ask(server.server_port, "POST", "/moto-api/reset")  # moto keeps what it holds as long as the process lives
            _ask(server.server_port, "PUT", f"/{BUCKET}")
            traffic.reset()
            yield f"s3://{BUCKET}", traffic
    finally:
        _ask(server.server_port, "POST", "/moto-api/reset")
        server.shutdown()
        thread.join()
        server.server_close()


def _ask(port: int, method: str, path: str) -> None:
    connection = HTTPConnection(HOST, port)
    connection.request(method, path)
    connection.getresponse().read()
    connection.close()


def _counting(app: "WSGIApplication", traffic: Traffic) -> "WSGIApplication":
    def counting(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        body = b"".join(app(environ, start_response))
        traffic.count(len(body))
        return [body]

    return counting


@contextmanager
def _environment(endpoint: str) -> Iterator[None]:
    wanted = {
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "NO_PROXY": HOST,
    }
    before: dict[str, Any] = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
