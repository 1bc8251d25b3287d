"""kmem.build on a tiny model: what goes in comes out, and a killed build ends as an uninterrupted one (invariants 7 and 8)."""

from functools import partial
from pathlib import Path

import pytest

import kmem
from kmem.errors import BankExistsError, BankNotFoundError, ConfigError, SourceError
from kmem.pipelines.build import build
from kmem.pipelines.config import BuildConfig
from tests.faults import run_until


def config(tiny_folder: Path, **options: object) -> BuildConfig:
    return BuildConfig(**{"model": str(tiny_folder), "profile": "uniform8", "dtype": "float32", "shard_rows": 4, **options})  # type: ignore[arg-type]


def bank_bytes(bank: Path) -> dict[str, bytes]:
    """Every file that is the bank; `build/` is the log of how it came to be."""
    files = sorted(path for path in bank.rglob("*") if path.is_file())
    return {str(path.relative_to(bank)): path.read_bytes() for path in files if path.relative_to(bank).parts[0] != "build"}


def test_builds_a_bank_that_can_be_searched_and_read(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    report = build([str(corpus)], out=tmp_path / "bank", config=config(tiny_folder), progress=lambda stage, *_: stages.append(stage))
    assert list(dict.fromkeys(stages)) == ["load", "read", "deduplicate", "chunk", "deduplicate-chunks", "encode", "embed", "index"]
    with kmem.open(tmp_path / "bank") as bank:
        assert len(bank) == report.chunks > 20
        assert report.flow["documents"]["in"] == 12
        hits = bank.search("boiling water, page 7", k=3)
        assert any("07.txt" in hit.source for hit in hits)
        document = Path(hits[0].source).read_text()
        assert document[hits[0].start : hits[0].end] == hits[0].text
        memories = bank.read([hit.id for hit in hits])
        assert memories.kv.shape == (3, 2, 64, 8)
        assert memories.lengths.tolist() == [hit.tokens for hit in hits]


def test_the_same_input_gives_the_same_bytes(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        build([str(corpus)], out=tmp_path / name, config=config(tiny_folder))
    assert bank_bytes(tmp_path / "one") == bank_bytes(tmp_path / "two")


@pytest.mark.usefixtures("one_thread")
def test_invariant_7_killed_five_times_and_resumed_gives_the_same_bytes(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    build([str(corpus)], out=tmp_path / "whole", config=config(tiny_folder))
    killed = tmp_path / "killed"
    again = partial(build, [str(corpus)], out=killed, config=config(tiny_folder), resume=True)
    completions = killed / "build" / "completions"
    for wanted in range(1, 6):  # the moment the n-th shard is complete: somewhere inside the next one
        assert not run_until(again, lambda wanted=wanted: len(list(completions.glob("?????"))) >= wanted)  # type: ignore[misc]
        with pytest.raises(BankNotFoundError, match="unfinished"):
            kmem.open(killed)
    assert again().shards_reused >= 5
    assert bank_bytes(killed) == bank_bytes(tmp_path / "whole")


def test_invariant_8_done_means_the_rows_are_there(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    """Datatrove #235, 'showing completed, but no result': a marker whose shard is gone or cut is not believed."""
    bank = tmp_path / "bank"
    build([str(corpus)], out=bank, config=config(tiny_folder))
    expected = bank_bytes(bank)
    for manifest in (bank / "manifests").iterdir():
        manifest.unlink()
    shards = sorted((bank / "memories.zarr" / "g0000" / "kv").rglob("c.*.0.0.0"))
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-7])
    (bank / "build" / "completions" / "00002").unlink()
    flipped = bytearray(shards[3].read_bytes())
    flipped[40] ^= 1
    shards[3].write_bytes(flipped)
    report = build(str(corpus), out=bank, config=config(tiny_folder), resume=True)
    assert report.shards - report.shards_reused == 4
    assert bank_bytes(bank) == expected


def test_an_unfinished_or_finished_bank_is_not_overwritten(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    build([str(corpus)], out=bank, config=config(tiny_folder))
    before = bank_bytes(bank)
    with pytest.raises(BankExistsError, match="finished bank"):
        build([str(corpus)], out=bank, config=config(tiny_folder))
    assert bank_bytes(bank) == before
    for manifest in (bank / "manifests").iterdir():
        manifest.unlink()
    with pytest.raises(BankExistsError, match="--resume"):
        build([str(corpus)], out=bank, config=config(tiny_folder))
    with pytest.raises(ConfigError, match="selector"):
        build([str(corpus)], out=bank, config=config(tiny_folder, selector="first"), resume=True)
    (corpus / "00.txt").write_text("Something else entirely.")
    with pytest.raises(ConfigError, match=r"the sources gave \d+ chunks, now they give|the text of the sources changed"):
        build([str(corpus)], out=bank, config=config(tiny_folder), resume=True)


def test_a_foreign_folder_is_left_alone(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("years of work")
    with pytest.raises(BankExistsError):
        build([str(corpus)], out=foreign, config=config(tiny_folder))
    assert [path.name for path in foreign.iterdir()] == ["chapter.txt"]


def test_dry_run_writes_nothing_and_predicts_the_bytes(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    predicted = build([str(corpus)], out=tmp_path / "bank", config=config(tiny_folder), dry_run=True)
    assert not (tmp_path / "bank").exists()
    assert predicted.seconds["encode"] > 0
    built = build([str(corpus)], out=tmp_path / "bank", config=config(tiny_folder))
    assert (predicted.chunks, predicted.payload_bytes, predicted.shards) == (built.chunks, built.payload_bytes, built.shards)
    with kmem.open(tmp_path / "bank") as bank:
        assert bank.sizes().payload_bytes == predicted.payload_bytes


def test_a_binary_file_is_set_aside_in_a_folder_and_refused_by_name(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    (corpus / "05b.txt").write_bytes(b"\x00\x01\x02 binary \xff")
    assert build([str(corpus)], out=tmp_path / "bank", config=config(tiny_folder), dry_run=True).counts["rejected: binary"] == 1
    with pytest.raises(SourceError, match=r"05b\.txt"):
        build([str(corpus / "05b.txt"), str(corpus)], out=tmp_path / "bank", config=config(tiny_folder))
    assert not (tmp_path / "bank").exists()


def test_limit_cuts_the_chunks(tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    report = build([str(corpus)], out=tmp_path / "bank", config=config(tiny_folder, limit=7), dry_run=True)
    assert report.chunks == 7


@pytest.mark.parametrize("option", ["limit", "batch_size", "shard_bytes", "shard_rows"])
def test_counts_must_be_positive(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} must be at least 1, not 0"):
        BuildConfig(**{option: 0})  # type: ignore[arg-type]
