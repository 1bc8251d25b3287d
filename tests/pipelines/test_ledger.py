"""A receipt is believed where its marker is there, its key is the one asked for, and its files are what was written."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from kmem.kstore.place import LocalPlace
from kmem.kstore.stored import store
from kmem.pipelines.ledger import ASIDE, Ledger, Receipt


@dataclass(frozen=True, kw_only=True)
class Task:
    index: int
    aside: tuple[tuple[int, str], ...] = ()


class NotThereError(Exception):
    """Raised by whoever would do the work."""


def found(ledger: Ledger, index: int, key: str) -> Receipt | None:
    def work(task: Task) -> Receipt:
        raise NotThereError

    try:
        return ledger.once(Task(index=index), lambda task: key, work)
    except NotThereError:
        return None


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(LocalPlace(tmp_path), "read")
    ledger.finish(Receipt(index=3, key="this", files=(store(ledger.place, ledger.file(3, "parquet"), b"documents"),)))
    return ledger


def test_what_was_finished_is_found_by_its_key(ledger: Ledger) -> None:
    receipt = found(ledger, 3, "this")
    assert receipt is not None
    assert receipt.reused
    assert receipt.files[0].size_bytes == len(b"documents")
    assert found(ledger, 3, "that") is None
    assert found(ledger, 2, "this") is None


@pytest.mark.parametrize("damage", [b"documentz", b"document", b""])
def test_altered_data_are_not_believed(ledger: Ledger, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / ledger.file(3, "parquet")).write_bytes(damage)
    assert found(ledger, 3, "this") is None


@pytest.mark.parametrize("gone", ["00003.parquet", "completions/00003", "receipts/00003.json"])
def test_each_of_the_three_is_needed(ledger: Ledger, tmp_path: Path, gone: str) -> None:
    (tmp_path / "build" / "read" / gone).unlink()
    assert found(ledger, 3, "this") is None


def test_work_that_was_done_is_finished_under_its_key_and_leaves_out_what_failed_before(ledger: Ledger, tmp_path: Path) -> None:
    def key(task: Task) -> str:
        return f"without {task.aside}"

    failed = ((7, "raised ValueError"),)
    done = ledger.once(Task(index=4, aside=failed), key, lambda task: Receipt(index=task.index, facts={ASIDE: task.aside}))
    assert (done.key, done.reused) == (key(Task(index=4, aside=failed)), False)
    assert done.seconds > 0
    assert ledger.once(Task(index=4), key, lambda task: Receipt(index=0)).reused
    (tmp_path / "build/read/completions/00004").unlink()
    assert not ledger.once(Task(index=4), key, lambda task: Receipt(index=task.index)).reused
