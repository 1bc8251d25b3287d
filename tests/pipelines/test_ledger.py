"""A receipt is believed where its marker is there, its key is the one asked for, and its files are what was written."""

from pathlib import Path

import pytest

from kmem.kstore.place import LocalPlace
from kmem.kstore.stored import store
from kmem.pipelines.ledger import Ledger, Receipt


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(LocalPlace(tmp_path), "read")
    ledger.finish(Receipt(index=3, key="this", files=(store(ledger.place, ledger.file(3, "parquet"), b"documents"),)))
    return ledger


def test_what_was_finished_is_found_by_its_key(ledger: Ledger) -> None:
    found = ledger.finished(3, "this")
    assert found is not None
    assert found.files[0].size_bytes == len(b"documents")
    assert ledger.finished(3, "that") is None
    assert ledger.finished(2, "this") is None


@pytest.mark.parametrize("damage", [b"documentz", b"document", b""])
def test_altered_data_are_not_believed(ledger: Ledger, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / ledger.file(3, "parquet")).write_bytes(damage)
    assert ledger.finished(3, "this") is None


@pytest.mark.parametrize("gone", ["00003.parquet", "completions/00003", "receipts/00003.json"])
def test_each_of_the_three_is_needed(ledger: Ledger, tmp_path: Path, gone: str) -> None:
    (tmp_path / "build" / "read" / gone).unlink()
    assert ledger.finished(3, "this") is None
