"""Shards that are written side by side: the same bytes as one after another, and whatever goes wrong is told once all are at rest."""

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from kmem.errors import BankNotFoundError, CorruptBankError
from kmem.kstore.bank import open_bank
from kmem.kstore.life import compact, convert, delete, merge
from kmem.kstore.manifest import Shard
from kmem.kstore.quant import quantiser
from kmem.kstore.stream import write_streamed
from tests.kstore.kit import contents, damaged, tiny_chunks, write_bank

PATIENCE_S = 20
RECORD_BYTES = 2 * 6 * 8 * 2 + 4
"""Of a tiny memory in float16, with its checksum."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_bank(tmp_path / "bank", count=11, rows_per_shard=3)
    return tmp_path / "bank"


@pytest.fixture
def shards(path: Path) -> tuple[Shard, ...]:
    with open_bank(path) as bank:
        return bank.manifest.generations[0].shards


def test_the_second_runs_beside_the_first_and_the_third_waits(shards: tuple[Shard, ...]) -> None:
    met = threading.Barrier(2, timeout=PATIENCE_S)
    running: list[int] = []
    most: list[int] = []

    def write(shard: Shard) -> Shard:
        running.append(shard.index)
        most.append(len(running))
        met.wait()  # nobody gets past it alone
        running.remove(shard.index)
        return shard

    told: list[Shard] = []
    writes = (partial(write, shard) for shard in shards)
    assert write_streamed(writes, at_once=2, wrote=told.append) == list(shards) == told
    assert len(shards) == 4
    assert max(most) == 2


def test_the_next_is_made_by_the_caller_while_one_is_written(shards: tuple[Shard, ...]) -> None:
    begun = [threading.Event() for _ in shards]
    made_by: set[int] = set()

    def writes() -> Iterator[Callable[[], Shard]]:
        for shard in shards:
            made_by.add(threading.get_ident())
            begun[shard.index].set()
            yield partial(write, shard)

    def write(shard: Shard) -> Shard:
        assert threading.get_ident() not in made_by
        if shard.index + 1 < len(shards):
            assert begun[shard.index + 1].wait(PATIENCE_S)
        return shard

    assert write_streamed(writes(), at_once=1) == list(shards)
    assert made_by == {threading.get_ident()}


def test_with_none_at_once_the_caller_writes(shards: tuple[Shard, ...]) -> None:
    told: list[tuple[int, int]] = []

    def write(shard: Shard) -> Shard:
        told.append((shard.index, threading.get_ident()))
        return shard

    assert write_streamed([partial(write, shard) for shard in shards], at_once=0) == list(shards)
    assert told == [(shard.index, threading.get_ident()) for shard in shards]


@pytest.mark.parametrize("failing", [0, 1, 3])
def test_what_failed_is_told_when_nothing_runs_any_more(shards: tuple[Shard, ...], failing: int) -> None:
    ended: list[int] = []
    others = threading.active_count()

    def write(shard: Shard) -> Shard:
        if shard.index >= failing:
            raise OSError(28, f"no room for {shard.index}")
        ended.append(shard.index)
        return shard

    told: list[int] = []
    with pytest.raises(OSError, match=f"no room for {failing}"):
        write_streamed([partial(write, shard) for shard in shards], at_once=2, wrote=lambda shard: told.append(shard.index))
    assert sorted(ended) == told == list(range(failing))
    assert threading.active_count() == others


def test_what_is_being_written_ends_where_the_next_can_not_be_made(shards: tuple[Shard, ...]) -> None:
    broken, ended = threading.Event(), threading.Event()

    def write() -> Shard:
        assert broken.wait(PATIENCE_S)
        ended.set()
        return shards[0]

    def writes() -> Iterator[Callable[[], Shard]]:
        yield write
        broken.set()
        raise ValueError("no second")

    with pytest.raises(ValueError, match="no second"):
        write_streamed(writes(), at_once=1)
    assert ended.is_set()


@pytest.mark.parametrize("what", ["compact", "merge", "convert"])
def test_copies_side_by_side_are_the_same_bytes(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    write_bank(tmp_path / "more", count=20, rows_per_shard=4)
    delete(path, [tiny_chunks(5)[4].id])
    found, told = [], []
    for at_once in (0, 2, 5):
        monkeypatch.setattr("kmem.kstore.rewrite.COPIES_AT_ONCE", at_once)
        steps: list[tuple[int, int]] = []
        out = tmp_path / f"out{at_once}"

        def progress(stage: str, done: int, total: int, steps: list[tuple[int, int]] = steps) -> None:
            if stage == "copy":
                steps.append((done, total))

        if what == "compact":
            merge([path, tmp_path / "more"], out)
            delete(out, [tiny_chunks(1)[0].id])
            compact(out, shard_bytes=1000, progress=progress)
        elif what == "merge":
            merge([path, tmp_path / "more"], out, shard_bytes=1000, progress=progress)
        else:
            convert(path, quantiser("fp32"), out, shard_bytes=1000, progress=progress)
        found.append(contents(out))
        told.append(steps)
    assert all(bank == found[0] for bank in found)
    assert all(steps == told[0] for steps in told)
    done = [step for step, _ in told[0]]
    assert len(done) > 4
    assert done == sorted(set(done))
    assert (done[0], done[-1]) == (0, told[0][0][1])


@pytest.mark.parametrize("row", [4, 10])
def test_an_error_in_any_shard_leaves_no_bank_and_can_be_repeated(path: Path, tmp_path: Path, row: int) -> None:
    again = shutil.copytree(path, tmp_path / "again")
    merge([path, again], tmp_path / "whole", shard_bytes=1000)
    shard = path / f"memories.zarr/g0000/kv/c.{row // 3}.0.0.0"
    data = bytearray(shard.read_bytes())
    data[row % 3 * RECORD_BYTES] ^= 1
    threads = threading.active_count()
    with damaged(shard, bytes(data)), pytest.raises(CorruptBankError, match=rf"c\.{row // 3}\.0\.0\.0: row {row % 3} has crc32c"):
        merge([path, again], tmp_path / "new", shard_bytes=1000)
    assert threading.active_count() == threads
    with pytest.raises(BankNotFoundError, match="no such folder"):
        open_bank(tmp_path / "new")
    merge([path, again], tmp_path / "new", shard_bytes=1000)
    assert contents(tmp_path / "new") == contents(tmp_path / "whole")


@pytest.mark.usefixtures("heeded_ctrl_c")
def test_ctrl_c_while_copying_leaves_the_bank_as_it_was(path: Path) -> None:
    delete(path, [tiny_chunks(1)[0].id])
    listed = contents(path)
    threads = threading.active_count()

    def interrupted(stage: str, done: int, total: int) -> None:
        if done:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        compact(path, shard_bytes=1000, progress=interrupted)
    assert threading.active_count() == threads
    assert {file: data for file, data in contents(path).items() if file in listed} == listed
    with open_bank(path) as bank:
        assert (len(bank), bank.manifest.number) == (10, 2)
    assert compact(path).manifest.number == 3
