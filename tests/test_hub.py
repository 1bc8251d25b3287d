"""A hub that does not answer is noticed at once, and a path is never taken for a name on it."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from kmem import hub
from kmem.errors import ModelNotFoundError
from kmem.hub import only_local


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No proxy, and no answer remembered from or for another test."""
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub._hub_answers.cache_clear()
    yield
    hub._hub_answers.cache_clear()


def test_a_folder_is_local_and_a_path_to_nothing_is_refused(tmp_path: Path) -> None:
    assert only_local(str(tmp_path))
    for path in (str(tmp_path / "gone"), "./gone", "~/gone", "some/deep/folder"):
        with pytest.raises(ModelNotFoundError, match="no model folder"):
            only_local(path)


def test_a_hub_is_asked_only_where_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert not only_local("someone/model")
    hub._hub_answers.cache_clear()
    began = time.perf_counter()
    assert only_local("someone/model")  # the port is closed now
    assert time.perf_counter() - began < hub.ANSWER_S + 1


def test_offline_by_wish_and_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy:3128"})
    assert not only_local("someone/model")
    hub._hub_answers.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert only_local("someone/model")
