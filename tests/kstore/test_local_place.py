"""What power cuts ask for: bytes flushed before the name appears, the name flushed after."""

import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from kmem.kstore.place import LocalPlace


@pytest.mark.parametrize("operation", ["replace", "link"])
def test_bytes_then_name_then_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    calls: list[str] = []
    flush, rename = os.fsync, getattr(os, operation)

    def noted_flush(descriptor: int) -> None:
        calls.append("flush " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.split(".")[0])
        flush(descriptor)

    def noted_rename(source: Path, target: Path) -> None:
        calls.append(operation)
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_flush)
    monkeypatch.setattr(os, operation, noted_rename)
    place = LocalPlace(tmp_path)
    write = {"replace": place.replace, "link": place.create}[operation]
    write("new/file", b"data")
    assert calls == [f"flush {tmp_path.name}", "flush file", operation, "flush new"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LocalPlace(tmp_path).replace("file", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        LocalPlace(tmp_path).replace("file", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


def test_partials_are_swept_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("file", "a/file", "a/file.123.partial", "x.partial"):
        (tmp_path / name).write_bytes(b"")
    LocalPlace(tmp_path).tidy()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == ["a/file", "file"]


def test_what_is_held_is_not_deleted(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    place.create("a", b"one")
    let_go, too = place.hold("a"), place.hold("a")
    for last in (let_go, too):
        assert not place.remove_unless_held("a")
        last()
    assert place.remove_unless_held("a")
    with pytest.raises(FileNotFoundError):
        place.hold("a")


def test_whoever_takes_hold_waits_for_a_deletion_that_has_begun(tmp_path: Path) -> None:
    """Or it would read a state whose files go the next moment."""
    place = LocalPlace(tmp_path)
    place.create("a", b"one")
    with ThreadPoolExecutor(1) as pool:
        with (tmp_path / "a").open("rb") as deleting:
            fcntl.flock(deleting, fcntl.LOCK_EX)
            holding = pool.submit(place.hold, "a")
            with pytest.raises(TimeoutError):
                holding.result(timeout=0.2)
            place.remove(["a"])
        with pytest.raises(FileNotFoundError):
            holding.result()


def test_a_file_that_goes_while_it_is_listed_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"one")
    scandir = os.scandir

    @contextmanager
    def slow(folder: str) -> Iterator[list[os.DirEntry[str]]]:
        with scandir(folder) as entries:
            listed = list(entries)
        (tmp_path / "a").unlink()
        yield listed

    monkeypatch.setattr(os, "scandir", slow)
    assert LocalPlace(tmp_path).sizes() == {"b": 3}
