"""Appending: only what is new is encoded, what was deleted comes back, a stopped one goes on, another model is refused."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kmem import AppendConfig, BuildConfig, append, build
from kmem.encoder.encode import Encoder
from kmem.errors import BankExistsError, BankNotFoundError, ConfigError, IdentityMismatchError, SourceNotFoundError
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kstore.bank import Bank, open_bank
from kmem.kstore.generation import GenerationWriter
from kmem.kstore.life import compact, delete
from kmem.kstore.manifest import FORMAT_VERSION
from kmem.kstore.verify import verify
from kmem.pipelines.receipts import Receipts
from tests.kstore.kit import as_format_2
from tests.tiny import save_tiny_model, tiny_model

appending = sys.modules["kmem.pipelines.append"]
"""The module; `kmem.append` is the function."""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    for name, text in (("fox", "A fox jumps over the dog."), ("owl", "Owls hunt mice by night.")):
        (tmp_path / "notes" / f"{name}.txt").write_text(text)
    return tmp_path / "notes"


@pytest.fixture
def bank(tmp_path: Path, tiny_folder: Path, notes: Path) -> Path:
    build(notes, out=tmp_path / "bank", config=BuildConfig(model=str(tiny_folder), profile="uniform8", dtype="float32", quantiser="fp16"))
    return tmp_path / "bank"


def test_what_is_appended_reads_like_what_was_built(bank: Path, tmp_path: Path, tiny_folder: Path, notes: Path) -> None:
    (notes / "newt.txt").write_text("Newts live in ponds.")
    report = append(bank, notes)
    assert (report.chunks, report.counts["there already"]) == (1, 2)
    build(notes, out=tmp_path / "whole", config=BuildConfig(model=str(tiny_folder), profile="uniform8", dtype="float32", quantiser="fp16"))
    with open_bank(bank) as ours, open_bank(tmp_path / "whole") as whole:
        ids = whole.ids.tolist()
        assert sorted(ours.ids.tolist()) == sorted(ids)
        assert torch.allclose(ours.read(ids).kv.float(), whole.read(ids).kv.float(), atol=1e-3)
        assert ours.chunks(ids) == whole.chunks(ids)
        assert [hit.id for hit in ours.search("pond animals", k=3)] == [hit.id for hit in whole.search("pond animals", k=3)]
        assert len(ours.manifest.generations) == 2
    assert not list((bank / "build").rglob("g0001*"))
    compact(bank)
    assert verify(bank, deep=True)["memories_read"] == 3


def test_a_bank_of_an_older_format_is_appended_to(bank: Path, notes: Path) -> None:
    as_format_2(bank)
    (notes / "newt.txt").write_text("Newts live in ponds.")
    append(bank, notes)
    with open_bank(bank) as opened:
        assert opened.manifest.format_version == FORMAT_VERSION
        old, new = (generation.shards[0].files[0].digest.partition(":")[0] for generation in opened.manifest.generations)
        assert (old, new) == ("sha256", "blake3")
    assert verify(bank, deep=True)["memories_read"] == 3


def test_an_index_that_was_asked_for_stays(tmp_path: Path, tiny_folder: Path, notes: Path) -> None:
    config = BuildConfig(model=str(tiny_folder), profile="uniform8", dtype="float32", quantiser="fp16", index="HNSW8")
    build(notes, out=tmp_path / "graph", config=config)
    (notes / "newt.txt").write_text("Newts live in ponds.")
    append(tmp_path / "graph", notes)
    with open_bank(tmp_path / "graph") as bank:
        assert (bank.manifest.index.kind, bank.manifest.index.asked, bank.manifest.index.rows) == ("hnsw", "HNSW8", 3)
        assert "pond" in bank.search("pond animals", k=1)[0].text
    with pytest.raises(BankExistsError, match="--index was HNSW8, is now auto"):
        build(notes, out=tmp_path / "graph", config=replace(config, index="auto"), resume=True)


PROSE = "A lighthouse keeper wrote down every evening which ships had passed, and what the wind had been in the bay"


def words_alone(tiny_folder: Path) -> BuildConfig:
    """A configuration that loads no embedder, and for which a sentence is long enough to have near copies."""
    near = DedupConfig(min_words=8)
    return BuildConfig(model=str(tiny_folder), profile="uniform8", dtype="float32", embedder="bm25", dedup_chunks=near)


def test_copies_of_stored_texts_are_dropped(tmp_path: Path, tiny_folder: Path) -> None:
    """As the bank's build would have dropped them: near ones and exact ones, under any name, but not those of what was deleted."""
    bank = tmp_path / "bank"
    for name, text in (("first", PROSE), ("near", PROSE.replace("bay", "sea")), ("exact", PROSE), ("other", PROSE[::-1])):
        (tmp_path / f"{name}.txt").write_text(text)
    build(tmp_path / "first.txt", out=bank, config=words_alone(tiny_folder))
    report = append(bank, [tmp_path / "near.txt", tmp_path / "other.txt"])
    assert (report.chunks, report.counts["dropped: near-duplicate of a stored text"]) == (1, 1)
    assert report.flow["chunks"] == {"in": 2, "kept": 1, "lost": {"dropped: near-duplicate of a stored text": 1}}
    assert append(bank, tmp_path / "exact.txt").counts["dropped: exact duplicate of a stored text"] == 1
    with open_bank(bank) as opened:
        names = {chunk.id: Path(chunk.source).stem for chunk in opened.all_chunks()}
    assert sorted(names.values()) == ["first", "other"]
    assert append(bank, tmp_path / "near.txt", config=AppendConfig(compare=False), dry_run=True).chunks == 1
    delete(bank, [memory_id for memory_id, name in names.items() if name == "first"])
    assert append(bank, tmp_path / "near.txt").chunks == 1


def test_a_large_bank_is_compared_when_asked(tmp_path: Path, tiny_folder: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending, "COMPARED_ROWS", 1)
    bank, copy = tmp_path / "bank", tmp_path / "copy.txt"
    build(notes, out=bank, config=words_alone(tiny_folder))
    copy.write_text("Owls hunt mice by night.")
    report = append(bank, copy, dry_run=True)
    assert (report.chunks, report.counts["not compared with the stored texts (--compare)"]) == (1, 1)
    assert append(bank, copy, config=AppendConfig(compare=True), dry_run=True).chunks == 0
    (bank / "build" / "executor.json").write_text('{"dedup_chunks": {"mode": "none"}}')
    with pytest.raises(ConfigError, match="built with --dedup none, so nothing in it counts as a copy"):
        append(bank, copy, config=AppendConfig(compare=True))


def test_nothing_new_changes_nothing(bank: Path, notes: Path) -> None:
    with open_bank(bank) as opened:
        number = opened.manifest.number
    assert append(bank, notes).chunks == 0
    with open_bank(bank) as opened:
        assert opened.manifest.number == number


def test_what_was_deleted_comes_back_without_encoding(bank: Path, notes: Path) -> None:
    with open_bank(bank) as opened:
        ids = opened.ids.tolist()
    delete(bank, ids[:1])
    report = append(bank, notes)
    assert (report.chunks, report.counts["deleted before, back again"]) == (0, 1)
    with open_bank(bank) as opened:
        assert opened.ids.tolist() == ids


def test_a_stopped_append_goes_on(bank: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        (notes / f"{number}.txt").write_text(f"Number {number} is a note.")
    config = AppendConfig(shard_bytes=1)
    written: list[int] = []
    original = GenerationWriter.write_shard

    def stopping(writer: GenerationWriter, index: int, *arguments: object) -> object:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(index)
        return original(writer, index, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(GenerationWriter, "write_shard", stopping)
        with pytest.raises(KeyboardInterrupt):
            append(bank, notes, config=config)
    with open_bank(bank) as opened:
        assert len(opened) == 2
    report = append(bank, notes, config=config)
    assert (report.shards, report.shards_reused) == (5, 3)
    with open_bank(bank) as opened:
        assert len(opened) == 7


def test_an_append_that_was_overtaken_writes_nothing(bank: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both found manifest 1; the names of the second one's files would be those that the first has committed."""
    (notes / "newt.txt").write_text("Newts live in ponds.")
    original: Callable[[Bank, AppendConfig], Encoder] = appending._load_encoder

    def overtaken(base: Bank, config: AppendConfig) -> Encoder:
        monkeypatch.setattr(appending, "_load_encoder", original)
        append(bank, notes)
        (notes / "bat.txt").write_text("Bats sleep by day.")
        return original(base, config)

    monkeypatch.setattr(appending, "_load_encoder", overtaken)
    (notes / "eel.txt").write_text("Eels swim upstream.")
    with pytest.raises(BankExistsError, match=r"000002\.json exists: another writer committed"):
        append(bank, notes)
    assert verify(bank, deep=True)["memories_read"] == 4
    assert append(bank, notes).chunks == 1


def test_receipts_of_an_append_that_died_after_its_commit_are_discarded(bank: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (notes / "newt.txt").write_text("Newts live in ponds.")
    with monkeypatch.context() as patch:
        patch.setattr(Receipts, "discard", lambda receipts: None)
        append(bank, notes)
    assert list((bank / "build").glob("g0001-*"))
    append(bank, notes)
    assert not list((bank / "build").glob("g0001-*"))


def test_another_model_is_refused(bank: Path, notes: Path, tmp_path: Path) -> None:
    (notes / "newt.txt").write_text("Newts live in ponds.")
    other = save_tiny_model(tmp_path / "other")
    tiny_model(seed=1).save_pretrained(other)
    with pytest.raises(IdentityMismatchError, match="weights"):
        append(bank, notes, config=AppendConfig(model=str(other)))


def test_bad_input(bank: Path, tmp_path: Path) -> None:
    with pytest.raises(BankNotFoundError):
        append(tmp_path / "nothing", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceNotFoundError):
        append(bank, tmp_path / "empty")
    assert not (tmp_path / "nothing").exists()
