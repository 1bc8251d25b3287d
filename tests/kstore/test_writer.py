"""The writer: claims, resumes, repeats to the byte, and refuses what isn't its own."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blake3 import blake3

from kmem.errors import BankExistsError, ConfigError, CorruptBankError, IdentityMismatchError
from kmem.kstore.bank import open_bank
from kmem.kstore.life import compact, delete
from kmem.kstore.manifest import IndexRecord
from kmem.kstore.place import LocalPlace
from kmem.kstore.quant import quantiser
from kmem.kstore.writer import BankWriter, is_committed
from tests.kstore.kit import NgramEmbedder, contents, tiny_chunks, tiny_memories, tiny_spec, write_bank, write_shards


class Killed(BaseException):
    """Stands for kill -9: nothing that catches Exception sees it."""


def writer(path: Path, rows: int = 5, name: str = "fp16", selector: str = "memory3") -> BankWriter:
    return BankWriter(path, tiny_spec(selector=selector), quantiser(name), rows, 2)


def index_of(bank: BankWriter) -> IndexRecord:
    chunks, embedder = tiny_chunks(bank.rows), NgramEmbedder()
    ids = np.array([chunk.id for chunk in chunks])
    return bank.write_index(embedder.embed([chunk.reference for chunk in chunks]), ids, embedder.identity())


def test_identical_input_gives_identical_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_bank(tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_every_new_file_has_its_blake3_in_the_manifest(tmp_path: Path) -> None:
    path = tmp_path / "bank"
    write_bank(path, name="vq")
    for change in (lambda: None, lambda: delete(path, [tiny_chunks(1)[0].id]), lambda: compact(path)):
        change()
        with open_bank(path) as bank:
            for stored in bank.files():
                assert stored.digest == f"blake3:{blake3((path / stored.file).read_bytes()).hexdigest()}", stored.file
            assert len(bank.files()) > 10


def test_whatever_got_a_name_is_flushed_into_its_folder_before_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders too: without that a power cut loses files whose own bytes are safe, and a manifest that lists them stays."""
    events: list[tuple[str, Path]] = []
    real = {name: getattr(os, name) for name in ("mkdir", "replace", "link", "fsync")}

    def watched(name: str) -> Callable[..., None]:
        def call(*arguments: Any, **named: Any) -> None:
            real[name](*arguments, **named)
            what = os.readlink(f"/proc/self/fd/{arguments[0]}") if name == "fsync" else arguments[0 if name == "mkdir" else 1]
            events.append(("flushed" if name == "fsync" else "named", Path(what)))

        return call

    for name in real:
        monkeypatch.setattr(os, name, watched(name))
    write_bank(tmp_path / "deep" / "bank")
    monkeypatch.undo()
    named = [what for event, what in events if event == "named"]
    committed = events.index(("named", tmp_path / "deep/bank/manifests/000001.json"))
    for number, (event, what) in enumerate(events):
        if event == "named":
            end = None if number >= committed else committed
            assert ("flushed", what.parent) in events[number:end], what
    files = [path for path in (tmp_path / "deep").rglob("*") if path.is_file()]
    assert {tmp_path / "deep", tmp_path / "deep/bank/chunks", tmp_path / "deep/bank/memories.zarr/g0000/kv", *files} <= set(named)


def test_shards_may_be_written_in_any_order_and_again(tmp_path: Path) -> None:
    write_bank(tmp_path / "straight")
    chunks = tiny_chunks(5)
    bank = writer(tmp_path / "crooked")
    found = {}
    for index in (2, 0, 0, 1, 2):
        rows = bank.shard_rows(index)
        part = chunks[rows.start : rows.stop]
        found[index] = bank.write_shard(index, tiny_memories(bank.spec, part), part)
    (tmp_path / "crooked" / found[1].files[0].file).write_bytes(b"damaged, then written again")
    part = chunks[2:4]
    found[1] = writer(tmp_path / "crooked").write_shard(1, tiny_memories(bank.spec, part), part)
    bank.commit(list(found.values()), index_of(bank))
    assert contents(tmp_path / "crooked") == contents(tmp_path / "straight")


def test_killed_before_any_rename_and_resumed_is_the_same_bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bank(tmp_path / "whole", count=3)
    whole = contents(tmp_path / "whole")
    left: list[int] = [0]

    def deadly(original: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        def step(source: Path, target: Path) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            original(source, target)

        return step

    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # slow, and a killed process loses nothing the kernel has
    monkeypatch.setattr(os, "replace", deadly(os.replace))
    monkeypatch.setattr(os, "link", deadly(os.link))
    for killed_at in range(1, len(whole) + 1):
        path = tmp_path / f"killed{killed_at}"
        left[0] = killed_at
        with pytest.raises(Killed):
            write_bank(path, count=3)
        assert not is_committed(LocalPlace(path))
        write_bank(path, count=3)
        assert contents(path) == whole


def test_a_finished_bank_is_not_overwritten(tmp_path: Path) -> None:
    write_bank(tmp_path / "bank")
    before = contents(tmp_path / "bank")
    with pytest.raises(BankExistsError, match="already holds a bank"):
        writer(tmp_path / "bank")
    assert contents(tmp_path / "bank") == before


@pytest.mark.parametrize("stranger", ["notes.txt", "build/output.o", "memories.zarr/zarr.json"])
def test_a_foreign_folder_is_not_touched(tmp_path: Path, stranger: str) -> None:
    file = tmp_path / "home" / stranger
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(BankExistsError, match="nothing was changed"):
        writer(tmp_path / "home")
    assert contents(tmp_path / "home") == {stranger: b"mine"}


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bank").write_text("mine")
    with pytest.raises(BankExistsError):
        writer(tmp_path / "bank")


def test_resuming_with_another_configuration_names_the_fields(tmp_path: Path) -> None:
    writer(tmp_path / "bank")
    before = contents(tmp_path / "bank")
    with pytest.raises(ConfigError, match=r"quantiser\.name: there 'fp16', here 'bf16'; rows: there 5, here 6"):
        writer(tmp_path / "bank", rows=6, name="bf16")
    with pytest.raises(ConfigError, match=r"identity\.selector.*profile\.selector"):
        writer(tmp_path / "bank", selector="random")
    assert contents(tmp_path / "bank") == before


def test_memories_and_chunks_must_belong_together(tmp_path: Path) -> None:
    bank, chunks = writer(tmp_path / "bank"), tiny_chunks(5)
    memories = tiny_memories(bank.spec, chunks[:2])
    with pytest.raises(ConfigError, match=str(chunks[1].id)):
        bank.write_shard(0, memories, [chunks[0], chunks[2]])
    with pytest.raises(ConfigError, match="2 memories for 1 chunks"):
        bank.write_shard(0, memories, chunks[:1])
    with pytest.raises(ConfigError, match="shards 0 to 2"):
        bank.write_shard(3, memories, chunks[:2])
    with pytest.raises(ConfigError, match="between 1 and 255"):
        bank.write_shard(0, replace(memories, lengths=torch.tensor([0, 3])), chunks[:2])
    other = tiny_memories(tiny_spec(selector="random"), chunks[:2])
    with pytest.raises(IdentityMismatchError, match="selector"):
        bank.write_shard(0, other, chunks[:2])


def test_commit_wants_every_shard_and_every_file(tmp_path: Path) -> None:
    bank = writer(tmp_path / "bank")
    shards, index = write_shards(bank, tiny_chunks(5)), index_of(bank)
    with pytest.raises(ConfigError, match=r"\(1, 2\)"):
        bank.commit([shards[0], shards[2]], index)
    with pytest.raises(ConfigError, match="4 vectors for 5"):
        bank.commit(shards, replace(index, rows=4))
    kv = tmp_path / "bank" / shards[1].files[0].file
    kv.write_bytes(kv.read_bytes()[:-1])
    with pytest.raises(CorruptBankError, match="bytes"):
        bank.commit(shards, index)
    assert not is_committed(LocalPlace(tmp_path / "bank"))


def test_commit_refuses_an_id_written_twice(tmp_path: Path) -> None:
    bank, chunks = writer(tmp_path / "bank", rows=4), tiny_chunks(2)
    shards = [bank.write_shard(index, tiny_memories(bank.spec, chunks), chunks) for index in (0, 1)]
    with pytest.raises(ConfigError, match=str(chunks[0].id)):
        bank.commit(shards, replace(index_of(bank), rows=4))


@pytest.mark.parametrize("damage", ["cut", "flip", "other"])
def test_a_damaged_bracket_is_written_again(tmp_path: Path, damage: str) -> None:
    """Its checksum is taken when it is written, so that a commit can't vouch for bytes that changed since."""
    writer(tmp_path / "bank")
    path = tmp_path / "bank" / "bracket.safetensors"
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-7], "flip": whole[:-1] + bytes([whole[-1] ^ 1]), "other": b""}[damage])
    bank = writer(tmp_path / "bank")
    bank.commit(write_shards(bank, tiny_chunks(5)), index_of(bank))
    with open_bank(tmp_path / "bank") as opened:
        assert torch.equal(opened.spec.bracket, tiny_spec().bracket)
        assert opened.spec.bracket_tokens == (1, 40, 41)
        assert opened.manifest.encoder_dtype == "float32"


def test_of_two_writers_with_other_settings_one_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both find the folder vacant; the second to write the claim compares itself with the first."""
    writer(tmp_path / "bank")
    found = [False, True]
    monkeypatch.setattr("kmem.kstore.claim.is_unfinished_build", lambda root: found.pop())
    with pytest.raises(ConfigError, match="half-written bank with another configuration"):
        writer(tmp_path / "bank", rows=6)


def test_memories_read_without_slot_positions_are_refused(tmp_path: Path) -> None:
    """They would be stored as slots of token 254."""
    write_bank(tmp_path / "bank")
    bank, chunks = writer(tmp_path / "copy", rows=2), tiny_chunks(2)
    with open_bank(tmp_path / "bank") as source:
        unread = source.read([chunk.id for chunk in chunks], positions=False)
        with pytest.raises(ConfigError, match="read without their slot positions; read them with positions=True"):
            bank.write_shard(0, unread, chunks)
        assert not [file for file in contents(tmp_path / "copy") if "/c." in file]
        bank.write_shard(0, source.read(unread.ids), chunks)
