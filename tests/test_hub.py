"""A hub that does not answer is noticed at once, and a path is never taken for a name on it."""

import socket
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from kmem import hub
from kmem.errors import ModelNotFoundError
from kmem.hub import located


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, and no answer remembered from or for another test."""
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def test_a_folder_is_local_and_a_path_to_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    for name in (str(tmp_path), tmp_path.name, f"~/{tmp_path.name}"):
        assert located(name) == (str(tmp_path.resolve()), True)
    for path in (str(tmp_path / "gone"), "./gone", "~/gone", "some/deep/folder"):
        with pytest.raises(ModelNotFoundError, match="no model folder"):
            located(path)


def test_a_hub_is_asked_only_where_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert located("someone/model") == ("someone/model", False)
    began = time.perf_counter()
    assert located("someone/model") == ("someone/model", True)  # the port is closed now
    assert time.perf_counter() - began < hub.ANSWER_S + 1


def test_offline_by_wish_and_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy:3128"})
    assert located("someone/model") == ("someone/model", False)
    monkeypatch.setattr(hub, "getproxies", lambda: {"no": "localhost"})  # which is no proxy
    assert located("someone/model") == ("someone/model", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert located("someone/model") == ("someone/model", True)
