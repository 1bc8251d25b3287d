"""What power cuts ask for: bytes flushed before the name appears, the name flushed after."""

import os
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
