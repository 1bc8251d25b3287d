"""Building, appending and encoding later, through the doors that users take."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from kmem.errors import BankExistsError, ConfigError
from kmem.kstore.bank import open_bank
from kmem.kstore.life import compact, delete
from kmem.kstore.lock import locked
from kmem.kstore.place import LocalPlace, Place
from kmem.kstore.verify import verify
from kmem.pipelines.append import append
from kmem.pipelines.build import build
from kmem.pipelines.config import AppendConfig, BuildConfig
from kmem.pipelines.encode import encode_missing
from tests.faults import answers, bank_files, run_for, seconds_of
from tests.kstore.kit import NgramEmbedder


@pytest.fixture(autouse=True)
def embedder(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    for name in ("tools.retriever", "append.recorded_retriever"):
        monkeypatch.setattr(f"kmem.pipelines.{name}", lambda *_, **__: NgramEmbedder())


@pytest.fixture
def options(tiny_folder: Path) -> dict[str, object]:
    return {"model": str(tiny_folder), "profile": "uniform8", "shard_rows": 5, "batch_size": 1, "limit": 14}


@pytest.fixture
def cold(tmp_path: Path, corpus: Path, options: dict[str, object]) -> Path:
    report = build(corpus, out=tmp_path / "cold", config=BuildConfig(**options, encode=False))  # type: ignore[arg-type]
    assert (report.encode, report.chunks, report.shards) == (False, 14, 3)
    return tmp_path / "cold"


def stop_before_commit(corpus: Path, out: Path, config: BuildConfig) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kmem.kstore.writer.commit", _stopped)
        with pytest.raises(KeyboardInterrupt):
            build(corpus, out=out, config=config)


def missing(path: Path) -> int:
    with open_bank(path, NgramEmbedder()) as bank:
        return int((~bank.encoded(bank.ids.tolist())).sum())


def test_encoding_later_gives_the_bank_that_was_encoded(tmp_path: Path, cold: Path, corpus: Path, options: dict[str, object]) -> None:
    build(corpus, out=tmp_path / "full", config=BuildConfig(**options, dtype="float32"))  # type: ignore[arg-type]
    assert missing(cold) == 14
    done = encode_missing(cold)
    assert (done.encoded, done.there) == (14, 0)
    assert answers(cold) == answers(tmp_path / "full")
    assert (encode_missing(cold).encoded, encode_missing(cold).there) == (0, 14)
    verify(cold, deep=True)
    compact(cold)
    assert answers(cold) == answers(tmp_path / "full")
    verify(cold, deep=True)


def test_appending_either_way(cold: Path, tmp_path: Path) -> None:
    (tmp_path / "later.txt").write_text("Owls hunt mice by night, and hear every step that is made below.")
    (tmp_path / "newer.txt").write_text("Newts live in ponds.")
    assert append(cold, tmp_path / "later.txt", config=AppendConfig(encode=False), dry_run=True).seconds["encode"] == 0
    assert append(cold, tmp_path / "later.txt", config=AppendConfig(encode=False)).chunks == 1
    assert append(cold, tmp_path / "newer.txt").chunks == 1
    with open_bank(cold, NgramEmbedder()) as bank:
        ids = bank.ids.tolist()
        assert [generation.on_demand for generation in bank.manifest.generations] == [True, True, False]
        assert bank.encoded(ids).tolist() == [False] * 15 + [True]
        assert len(bank.read(ids[-1:])) == 1
    delete(cold, ids[:2])
    manifest = compact(cold).manifest
    assert [(generation.on_demand, generation.rows) for generation in manifest.generations] == [(False, 1), (True, 13)]
    assert encode_missing(cold).encoded == 13
    assert len(answers(cold).ids) == 14
    assert not compact(cold).manifest.on_demand


def test_an_append_of_the_same_documents_the_other_way_starts_anew(cold: Path, tmp_path: Path) -> None:
    """Receipts of an append that was stopped name records; one that leaves them for later must not take them up."""
    (tmp_path / "later.txt").write_text("Owls hunt mice by night, and hear every step that is made below.")
    config = AppendConfig()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kmem.pipelines.append.commit", _stopped)
        with pytest.raises(KeyboardInterrupt):
            append(cold, tmp_path / "later.txt", config=config)
    append(cold, tmp_path / "later.txt", config=AppendConfig(encode=False))
    assert missing(cold) == 15
    verify(cold, deep=True)


def test_a_build_that_was_stopped_goes_on_only_as_it_was_begun(tmp_path: Path, corpus: Path, options: dict[str, object]) -> None:
    out = tmp_path / "bank"
    stop_before_commit(corpus, out, BuildConfig(**options, encode=False))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--encode was False, is now True"):
        build(corpus, out=out, config=BuildConfig(**options, dtype="float32"), resume=True)  # type: ignore[arg-type]
    report = build(corpus, out=out, config=BuildConfig(**options, encode=False), resume=True)  # type: ignore[arg-type]
    assert report.shards_reused == 3
    assert missing(out) == 14


def test_encoding_is_killed_at_a_random_moment(cold: Path, tmp_path: Path) -> None:
    encode_missing(Path(shutil.copytree(cold, tmp_path / "whole")))
    whole = bank_files(tmp_path / "whole")
    longest = seconds_of(partial(encode_missing, shutil.copytree(cold, tmp_path / "timed")))
    generator = np.random.default_rng(0)
    for kill in range(4):
        path = Path(shutil.copytree(cold, tmp_path / f"killed{kill}"))
        run_for(partial(encode_missing, path), longest * (kill + float(generator.random())) / 4)
        assert bank_files(path).items() <= whole.items()
        left = missing(path)
        assert encode_missing(path).encoded == left
        assert bank_files(path) == whole


def test_not_beside_another_writer(cold: Path) -> None:
    with locked(LocalPlace(cold)), pytest.raises(BankExistsError, match="Another build"):
        encode_missing(cold)


def test_an_encoding_that_was_overtaken_writes_nothing(cold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer commits between opening and locking: what is missing then is no longer what was asked for."""

    @contextmanager
    def late(place: Place) -> Iterator[Callable[[], None]]:
        monkeypatch.undo()
        with open_bank(cold) as bank:
            delete(cold, bank.ids.tolist()[:1])
        with locked(place) as require_held:
            yield require_held

    monkeypatch.setattr("kmem.pipelines.encode.locked", late)
    with pytest.raises(BankExistsError, match=r"000002\.json exists: another writer committed"):
        encode_missing(cold)
    assert missing(cold) == 13
    assert encode_missing(cold).encoded == 13


def test_a_build_begun_before_encoding_could_wait_goes_on(tmp_path: Path, corpus: Path, options: dict[str, object]) -> None:
    """An older kmem wrote down neither setting; it always encoded."""
    out = tmp_path / "bank"
    stop_before_commit(corpus, out, BuildConfig(**options, dtype="float32"))  # type: ignore[arg-type]
    for file, later in (("executor.json", "encode"), ("writer.json", "on_demand")):
        settings = json.loads((out / "build" / file).read_text())
        del settings[later]
        (out / "build" / file).write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="--encode was True, is now False"):
        build(corpus, out=out, config=BuildConfig(**options, encode=False), resume=True)  # type: ignore[arg-type]
    assert build(corpus, out=out, config=BuildConfig(**options, dtype="float32"), resume=True).shards_reused == 3  # type: ignore[arg-type]
    assert missing(out) == 0


def _stopped(*_: object) -> None:
    raise KeyboardInterrupt
