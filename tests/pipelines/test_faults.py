"""Real faults under whole operations: kill −9 at random moments, a full disk, readers beside a writer that never rests."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from kmem.encoder.load import load_model
from kmem.errors import BankNotFoundError
from kmem.kstore.bank import open_bank
from kmem.kstore.commit import manifest_numbers
from kmem.kstore.life import compact, delete
from kmem.kstore.place import LocalPlace
from kmem.kstore.verify import verify
from kmem.pipelines.append import append
from kmem.pipelines.build import build
from kmem.pipelines.config import AppendConfig, BuildConfig
from tests.faults import Said, answers, bank_files, child, disk, files_limited_to, run_for, said, seconds_of
from tests.kstore.kit import NgramEmbedder

SHARD_ROWS = 3
FEW_KILLS, MANY_KILLS = 4, 67
FEW_SECONDS, MANY_SECONDS = 2.0, 20.0
READERS = 4


@dataclass(frozen=True)
class Banks:
    """Of half a corpus, the same with the other half appended, then without two memories, then compacted; what makes the first two."""

    built: Path
    appended: Path
    thinned: Path
    compacted: Path
    building: Callable[[Path], object]
    appending: Callable[[Path], object]


@pytest.fixture(scope="module")
def banks(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Iterator[Banks]:
    """All by the real functions; only the model is loaded once and the embedder needs none."""
    folder = tmp_path_factory.mktemp("faults")
    loaded, embedder = load_model(str(tiny_folder), dtype="float32", device="cpu"), NgramEmbedder()
    with pytest.MonkeyPatch.context() as patch:
        for module in ("machine", "append"):
            patch.setattr(f"kmem.pipelines.{module}.load_model", lambda *_, **__: loaded)
        for finding in ("tools.retriever", "append.recorded_retriever"):
            patch.setattr(f"kmem.pipelines.{finding}", lambda *_, **__: embedder)
        for half, pages in (("first", range(5)), ("second", range(5, 9))):
            (folder / half).mkdir()
            for page in pages:
                (folder / half / f"{page}.txt").write_text(
                    f"Iron rusts in wet air, says page {page}. Water boils at {page} hundred degrees."
                )
        options = BuildConfig(model=str(tiny_folder), profile="uniform8", dtype="float32", shard_rows=SHARD_ROWS)

        def building(path: Path) -> object:
            return build(folder / "first", out=path, config=options, resume=True)

        building(folder / "built")
        with open_bank(folder / "built") as bank:
            more = AppendConfig(shard_bytes=SHARD_ROWS * bank.record_bytes)

        def appending(path: Path) -> object:
            return append(path, folder / "second", config=more)

        appending(shutil.copytree(folder / "built", folder / "appended"))
        shutil.copytree(folder / "appended", folder / "thinned")
        delete(folder / "thinned", answers(folder / "thinned").ids[2:4])
        compact(shutil.copytree(folder / "thinned", folder / "compacted"))
        yield Banks(
            built=folder / "built",
            appended=folder / "appended",
            thinned=folder / "thinned",
            compacted=folder / "compacted",
            building=building,
            appending=appending,
        )


@pytest.mark.parametrize("what", ["build", "append", "compact"])
@pytest.mark.parametrize("kills", [FEW_KILLS, pytest.param(MANY_KILLS, marks=pytest.mark.slow)])
def test_killed_at_a_random_moment(banks: Banks, tmp_path: Path, what: str, kills: int) -> None:
    """The bank is as it was or as it would be; repeating ends as if nothing had happened, file by file."""
    before, after, change = {
        "build": (None, banks.built, banks.building),
        "append": (banks.built, banks.appended, banks.appending),
        "compact": (banks.thinned, banks.compacted, compact),
    }[what]
    allowed: list[Said | None] = [None if before is None else answers(before), answers(after)]
    whole = bank_files(after)
    generator = np.random.default_rng(kills)

    def fresh(name: str) -> Path:
        return tmp_path / name if before is None else shutil.copytree(before, tmp_path / name)

    longest = max(seconds_of(partial(change, fresh(f"timed{turn}"))) for turn in range(2))
    ended = 0
    for kill in range(kills):
        path = fresh(f"killed{kill}")
        ended += run_for(partial(change, path), longest * (kill + float(generator.random())) / kills)
        assert _answers_if_any(path) in allowed, kill
        change(path)
        assert bank_files(path) == whole, kill
        assert answers(path) == allowed[1]
        assert not [file for file in path.glob("build/g*/**/*") if file.is_file()]  # receipts
        shutil.rmtree(path)
    assert ended < kills


@pytest.mark.parametrize("seconds", [FEW_SECONDS, pytest.param(MANY_SECONDS, marks=pytest.mark.slow)])
def test_readers_beside_a_writer_that_never_rests(banks: Banks, tmp_path: Path, seconds: float) -> None:
    """Every bank that is opened is a committed state, and stays it, while memories are appended, deleted and compacted."""
    path = shutil.copytree(banks.built, tmp_path / "bank")
    end = time.monotonic() + seconds
    over = tmp_path / "over"
    pids = [child(partial(_read_until, path, over, tmp_path / f"{number}.json"))[0] for number in range(READERS)]
    now = answers(path)
    known, states = dict(zip(now.ids, now.memories, strict=True)), {now.ids}
    while time.monotonic() < end or not list(tmp_path.glob("*.changed")):
        for change in (banks.appending, _delete_the_second_half, compact):
            change(path)
            now = answers(path)
            states.add(now.ids)
            held = dict(zip(now.ids, now.memories, strict=True))
            assert known | held == held | known
            known |= held
    over.touch()
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * READERS
    opened, seen = 0, set[tuple[int, ...]]()
    for number in range(READERS):
        report = json.loads((tmp_path / f"{number}.json").read_text())
        assert {int(memory_id): digest for memory_id, digest in report["known"].items()}.items() <= known.items()
        seen |= {tuple(ids) for ids in report["states"]}
        opened += report["opened"]
    assert seen <= states
    assert len(seen) > 1
    assert opened > READERS
    verify(path, deep=True)
    compact(path)
    assert len(manifest_numbers(LocalPlace(path))) == 1  # nobody holds the older ones any more


@pytest.mark.parametrize("what", ["build", "append"])
def test_a_full_disk(banks: Banks, tmp_path: Path, what: str) -> None:
    """It ends in OSError at whatever point, the bank before is whole, and once there is room the same call goes on."""
    with disk(tmp_path / "disk") as small:
        path = small.folder / "bank"
        change, after = (banks.building, banks.built) if what == "build" else (banks.appending, banks.appended)
        if what == "append":
            shutil.copytree(banks.built, path)
        before = _answers_if_any(path)
        for _ in range(5):  # what was written so far is used again, so each gets a little further
            small.leave(16 << 10)
            with pytest.raises(OSError, match="No space left"):
                change(path)
            assert _answers_if_any(path) == before
        small.leave(8 << 20)
        change(path)
        assert bank_files(path) == bank_files(after)


@pytest.mark.parametrize("limit", [0, 300, 3000])
def test_a_file_that_may_not_grow(banks: Banks, tmp_path: Path, limit: int) -> None:
    path = tmp_path / "bank"
    for change, after in ((banks.building, banks.built), (banks.appending, banks.appended)):
        before = _answers_if_any(path)
        with files_limited_to(limit), pytest.raises(OSError, match="File too large"):
            change(path)
        assert _answers_if_any(path) == before
        change(path)
        assert bank_files(path) == bank_files(after)


def _answers_if_any(path: Path) -> Said | None:
    try:
        return answers(path)
    except BankNotFoundError:
        return None


def _delete_the_second_half(path: Path) -> None:
    delete(path, answers(path).ids[5:])


def _read_until(path: Path, over: Path, report: Path) -> None:
    """Open, ask everything, and ask it again after a while of the same open bank; say when the bank was seen in a second state."""
    known: dict[int, str] = {}
    states: set[tuple[int, ...]] = set()
    opened = 0
    while not over.exists():
        with open_bank(path, NgramEmbedder()) as bank:
            time.sleep(0.01 * (opened % 4))  # something happens before the first read
            first = said(bank)
        with open_bank(path, NgramEmbedder(), verify="always") as bank:
            again = said(bank)
            time.sleep(0.01 * (opened % 3))
            assert said(bank) == again
        for found in (first, again):
            states.add(found.ids)
            for memory_id, digest in zip(found.ids, found.memories, strict=True):
                assert known.setdefault(memory_id, digest) == digest
        opened += 2
        if len(states) > 1:
            report.with_suffix(".changed").touch()
    report.write_text(json.dumps({"known": known, "states": sorted(states), "opened": opened}))
