"""Where machine code can't be kept, it is compiled again, and nothing else happens."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest

from kmem.jit import compiled
from tests.faults import disk, files_limited_to


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """NUMBA_CACHE_DIR."""
    path = tmp_path / "cache"
    path.mkdir()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(path))
    return path


def double(number):  # type: ignore[no-untyped-def]
    return number + number


def quadruple() -> Any:
    """A compiled function that calls another one, both for the first time."""
    doubled = compiled(double)

    @compiled
    def twice(number):  # type: ignore[no-untyped-def]
        return doubled(doubled(number))

    return twice


def kept(folder: Path) -> int:
    return len(list(folder.rglob("*.nbc")))


def test_it_is_kept(folder: Path) -> None:
    assert quadruple()(3) == 12
    assert kept(folder) == 2
    again: Any = compiled(double)
    assert again(3) == 6
    assert sum(again.stats.cache_hits.values()) == 1


def test_a_full_disk(folder: Path) -> None:
    with files_limited_to(0):
        assert quadruple()(3) == 12
    assert kept(folder) == 0
    assert quadruple()(3) == 12
    assert kept(folder) == 2


@pytest.mark.parametrize("lose", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("elsewhere"))], ids=["gone", "moved"])
def test_a_folder_that_goes_away(folder: Path, lose: Callable[[Path], object]) -> None:
    function = quadruple()
    lose(folder)
    folder.write_text("a file now")
    assert function(3) == 12


def test_disks_that_take_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with disk(tmp_path / "disk") as small:
        monkeypatch.setattr(numba.config, "CACHE_DIR", str(small.folder))
        function, late = quadruple(), quadruple()
        small.leave(0)
        assert function(3) == 12
        small.read_only()
        assert late(3) == 12
        assert kept(small.folder) == 0
