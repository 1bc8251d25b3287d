"""A text file is there whole or not at all."""

import os
from pathlib import Path

import pytest

from kmem.written import whole_text


def test_it_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    os.symlink(path, tmp_path / "link.txt")
    with whole_text(tmp_path / "link.txt") as file:
        file.write("neu, 新")
        assert path.read_text() == "old"
    assert path.read_text(encoding="utf-8") == "neu, 新"
    assert (tmp_path / "link.txt").is_symlink()
    plain = tmp_path / "plain"
    plain.write_text("")
    assert path.stat().st_mode == plain.stat().st_mode  # anyone may read it who may read other files


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), whole_text(path) as file:
        file.writelines(["half", "\ud800"])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_directly() -> None:
    with whole_text(Path("/dev/null")) as file:
        file.write("gone")
