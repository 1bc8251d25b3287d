"""Builds that were stopped, damaged, repeated or started twice: the same bytes in the end, or one sentence."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from kmem.encoder.encode import Encoder
from kmem.errors import BankExistsError, ConfigError, CorruptBankError, ModelNotFoundError
from kmem.kstore.index.embed import _minilm_folder
from kmem.kstore.lock import locked
from kmem.kstore.place import LocalPlace
from kmem.kstore.writer import BankWriter, is_committed
from kmem.pipelines import machine
from kmem.pipelines.build import build
from tests.faults import run_until
from tests.pipelines.test_build import bank_bytes, config


class Killed(BaseException):
    """Stands for kill -9: nothing that catches Exception sees it."""


def uncommit(bank: Path) -> None:
    """Make a finished bank an unfinished build whose shards are all there."""
    for manifest in (bank / "manifests").iterdir():
        manifest.unlink()


def never(*_: object, **__: object) -> None:
    raise AssertionError("this must not be reached")


def test_invariant_7_killed_while_embedding_indexing_and_committing(
    tiny_folder: Path, corpus: Path, tmp_path: Path, one_thread: None
) -> None:
    build([str(corpus)], out=tmp_path / "whole", config=config(tiny_folder))
    killed = tmp_path / "killed"
    again = partial(build, [str(corpus)], out=killed, config=config(tiny_folder), resume=True)
    for begun in ("build/vectors/*.npy", "index/*", "manifests/*"):
        run_until(again, lambda begun=begun: any(killed.glob(begun)))  # type: ignore[misc]
        assert any(killed.glob(begun))
    command = [
        sys.executable, "-m", "kmem", "build", str(corpus), "--out", str(killed), "--model", str(tiny_folder),
        "--profile", "uniform8", "--dtype", "float32", "--shard-rows", "4", "--resume",
    ]  # fmt: skip
    subprocess.run(command, capture_output=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert bank_bytes(killed) == bank_bytes(tmp_path / "whole")


@pytest.mark.parametrize("when", ["before", "after"])
def test_invariant_7_killed_at_the_nth_rename_for_every_n(
    when: str, tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = config(tiny_folder, limit=4, shard_rows=2)
    build([str(corpus)], out=tmp_path / "whole", config=options)
    left = [0]

    def deadly(original: Callable[..., None]) -> Callable[..., None]:
        def step(*arguments: Any, **named: Any) -> None:
            left[0] -= 1
            dead = left[0] < -1  # it died one step ago: nothing is tidied up
            if dead or (left[0] < 0 and when == "before"):
                raise Killed
            original(*arguments, **named)
            if left[0] < 0:
                raise Killed

        return step

    model = machine.load_encoder(options)
    monkeypatch.setattr(machine, "load_encoder", lambda config: model)  # loading reads, and is the slow part
    monkeypatch.setattr(os, "replace", deadly(os.replace))
    monkeypatch.setattr(os, "link", deadly(os.link))
    monkeypatch.setattr(Path, "touch", deadly(Path.touch))
    monkeypatch.setattr(Path, "unlink", deadly(Path.unlink))
    for allowed in count():
        left[0] = allowed
        try:
            build([str(corpus)], out=tmp_path / "killed", config=options, resume=True)
        except Killed:
            continue
        break
    assert allowed > 5
    assert bank_bytes(tmp_path / "killed") == bank_bytes(tmp_path / "whole")


def test_data_then_receipt_then_marker(tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A marker that is there before the rows, or before what says where they are, would be believed after a kill."""
    made: list[str] = []
    replace, touch = os.replace, Path.touch

    def noted_replace(source: Path, target: Path) -> None:
        replace(source, target)
        made.append(str(Path(target).relative_to(tmp_path / "bank")))

    def noted_touch(path: Path) -> None:
        touch(path)
        made.append(str(path.relative_to(tmp_path / "bank")))

    monkeypatch.setattr(os, "replace", noted_replace)
    monkeypatch.setattr(Path, "touch", noted_touch)
    build([str(corpus)], out=tmp_path / "bank", config=config(tiny_folder, limit=4, shard_rows=2))
    for index in (0, 1):
        receipt = json.loads((tmp_path / "bank" / "build" / "shards" / f"{index:05d}.json").read_text())
        data = [made.index(receipt[name]["file"]) for name in ("kv", "slot_position", "length", "ids", "chunks")]
        assert max(data) < made.index(f"build/shards/{index:05d}.json") < made.index(f"build/completions/{index:05d}")
    for stage, ending in (("read", "parquet"), ("deduplicate", "npy"), ("chunk", "parquet"), ("deduplicate-chunks", "npy")):
        order = [made.index(f"build/{stage}/{file}") for file in (f"00000.{ending}", "receipts/00000.json", "completions/00000")]
        assert order == sorted(order)


def test_a_finished_build_resumed_has_nothing_to_do(
    tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = tmp_path / "bank"
    built = build([str(corpus)], out=bank, config=config(tiny_folder))
    before = bank_bytes(bank)
    assert not (bank / "build" / "vectors").exists()
    monkeypatch.setattr(Encoder, "encode", never)
    again = build([str(corpus)], out=bank, config=config(tiny_folder), resume=True)
    assert (again.chunks, again.shards_reused) == (built.chunks, built.shards)
    with pytest.raises(BankExistsError, match=r"finished bank of another build.*--batch-size was 16, is now 8"):
        build([str(corpus)], out=bank, config=config(tiny_folder, batch_size=8), resume=True)
    (bank / "build" / "executor.json").write_text('{"chunks": ')
    with pytest.raises(BankExistsError, match="finished bank"):
        build([str(corpus)], out=bank, config=config(tiny_folder), resume=True)
    assert bank_bytes(bank) == before


@pytest.mark.parametrize("damage", [b"", b'{"index": 0, "ro', b"null", b"\xff\xfe"])
def test_a_damaged_receipt_is_an_unfinished_shard(tiny_folder: Path, corpus: Path, tmp_path: Path, damage: bytes) -> None:
    bank, options = tmp_path / "bank", config(tiny_folder, limit=4, shard_rows=2)
    build([str(corpus)], out=bank, config=options)
    expected = bank_bytes(bank)
    uncommit(bank)
    (bank / "build" / "shards" / "00001.json").write_bytes(damage)
    assert build([str(corpus)], out=bank, config=options, resume=True).shards_reused == 1
    assert bank_bytes(bank) == expected


def test_damaged_vectors_and_bracket_are_made_again(
    tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, options = tmp_path / "bank", config(tiny_folder, limit=8, shard_rows=2)
    build([str(corpus)], out=tmp_path / "whole", config=options)

    def stop(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(BankWriter, "commit", stop)
        with pytest.raises(Killed):
            build([str(corpus)], out=bank, config=options)
    first, second, third, fourth = sorted((bank / "build" / "vectors").iterdir())
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:-5])
    third.write_bytes(first.read_bytes() + b"PK")
    flipped = bytearray(fourth.read_bytes())
    flipped[-2] ^= 0x40
    fourth.write_bytes(flipped)
    bracket = bytearray((bank / "bracket.safetensors").read_bytes())
    bracket[-3] ^= 0x40
    (bank / "bracket.safetensors").write_bytes(bracket)
    build([str(corpus)], out=bank, config=options, resume=True)
    assert bank_bytes(bank) == bank_bytes(tmp_path / "whole")


def test_a_damaged_configuration_says_what_to_do(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    bank, options = tmp_path / "bank", config(tiny_folder, limit=2)
    build([str(corpus)], out=bank, config=options)
    uncommit(bank)
    for damage in ("", '{"chunks": 3', "7", "{}"):
        (bank / "build" / "executor.json").write_text(damage)
        with pytest.raises(CorruptBankError, match=r"executor\.json is damaged .* delete .*bank and build again"):
            build([str(corpus)], out=bank, config=options, resume=True)


def test_other_settings_are_named(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    build([str(corpus)], out=bank, config=config(tiny_folder, limit=2))
    uncommit(bank)
    with pytest.raises(ConfigError, match=r"begun with other settings: --batch-size was 16, is now 3; give the same"):
        build([str(corpus)], out=bank, config=config(tiny_folder, limit=2, batch_size=3), resume=True)
    with pytest.raises(ConfigError, match=r"settings: --embedder was minilm, is now /"):
        build([str(corpus)], out=bank, config=config(tiny_folder, limit=2, embedder=str(_minilm_folder())), resume=True)
    with pytest.raises(ConfigError, match="settings: --limit was 2, is now 3; give the same"):
        build([str(corpus)], out=bank, config=config(tiny_folder, limit=3), resume=True)
    with pytest.raises(ConfigError, match=r"the profile's budget changed; --profile was uniform8, is now memory3"):
        build([str(corpus)], out=bank, config=config(tiny_folder, limit=2, profile="memory3"), resume=True)
    (corpus / "00.txt").write_text("Another first page. " * 20)
    with pytest.raises(ConfigError, match="settings: the text of the sources changed"):
        build([str(corpus)], out=bank, config=config(tiny_folder, limit=2), resume=True)
    assert not is_committed(LocalPlace(bank))


def test_a_dry_run_knows_what_is_there(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    bank, options = tmp_path / "bank", config(tiny_folder, limit=4, shard_rows=2)
    build([str(corpus)], out=bank, config=options)
    before = bank_bytes(bank)
    with pytest.raises(BankExistsError, match="finished bank"):
        build([str(corpus)], out=bank, config=options, dry_run=True)
    uncommit(bank)
    (bank / "build" / "completions" / "00001").unlink()
    whole = build([str(corpus)], out=tmp_path / "other", config=options, dry_run=True)
    rest = build([str(corpus)], out=bank, config=options, resume=True, dry_run=True)
    assert (whole.shards_reused, rest.shards_reused, rest.shards) == (0, 1, 2)
    assert rest.seconds["encode"] > 0
    assert build([str(corpus)], out=bank, config=options, resume=True).shards_reused == 1
    assert bank_bytes(bank) == before


def test_a_bank_in_the_folder_of_the_sources_is_no_source(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    options = config(tiny_folder, limit=2)
    first = build([str(corpus)], out=corpus / "bank", config=options)
    second = build([str(corpus)], out=tmp_path / "bank", config=options)
    assert "skipped: a bank" not in first.counts
    assert second.counts["skipped: a bank"] == 1
    uncommit(corpus / "bank")
    build([str(corpus)], out=corpus / "bank", config=options, resume=True)
    assert bank_bytes(corpus / "bank") == bank_bytes(tmp_path / "bank")


def test_a_wrong_embedder_costs_nothing(tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "not-a-model").mkdir()
    monkeypatch.setattr(Encoder, "encode", never)
    with pytest.raises(ModelNotFoundError, match="not-a-model"):
        build([str(corpus)], out=tmp_path / "bank", config=config(tiny_folder, embedder=str(tmp_path / "not-a-model")))
    assert not (tmp_path / "bank").exists()


def test_a_bad_out_is_told_before_the_model_is_loaded(
    tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "load_encoder", never)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine")
    for out, error, words in (
        ("file", BankExistsError, "is a file, not a folder"),
        ("file/bank", ConfigError, "file is a file"),
        ("thesis", BankExistsError, "not empty"),
    ):
        with pytest.raises(error, match=words):
            build([str(corpus)], out=tmp_path / out, config=config(tiny_folder))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match="gives no permission"):
        build([str(corpus)], out=tmp_path / "new" / "bank", config=config(tiny_folder))


def test_a_second_build_at_the_same_time_is_refused(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    bank, options = tmp_path / "bank", config(tiny_folder, limit=2)
    with locked(LocalPlace(bank)), pytest.raises(BankExistsError, match=rf"Another build \(pid {os.getpid()}\) is writing to .*bank"):
        build([str(corpus)], out=bank, config=options)
    build([str(corpus)], out=bank, config=options)  # a lock nobody holds is no obstacle
    assert is_committed(LocalPlace(bank))


def test_the_embed_stage_reports_batches(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    build([str(corpus)], out=tmp_path / "bank", config=config(tiny_folder, shard_rows=1000), progress=lambda *step: told.append(step))
    embed = [(done, total) for stage, done, total in told if stage == "embed"]
    assert embed[0][0] == 0
    assert embed[-1][0] == embed[-1][1]
    assert [done for done, _ in embed] == sorted({done for done, _ in embed})


@pytest.mark.parametrize("given", ["auto", "uniform8"])
def test_the_default_profile_fits_the_model(tiny_folder: Path, corpus: Path, tmp_path: Path, given: str) -> None:
    report = build([str(corpus)], out=tmp_path / "bank", config=config(tiny_folder, profile=given, limit=2), dry_run=True)
    assert (report.profile, report.slots) == ("uniform8", 64)
