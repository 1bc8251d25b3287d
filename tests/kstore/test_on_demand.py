"""A generation whose records are written one by one: each there or not, whole, checked, and never taken for rubbish."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from typing_extensions import Buffer

from kmem.errors import ConfigError, CorruptBankError, IdentityMismatchError, MemoryNotEncodedError
from kmem.kstore.bank import Bank, open_bank
from kmem.kstore.fields import Fields
from kmem.kstore.fill import store_memories
from kmem.kstore.life import compact, convert, delete, merge
from kmem.kstore.lock import kept
from kmem.kstore.manifest import Generation
from kmem.kstore.place import LocalPlace
from kmem.kstore.prune import sweep
from kmem.kstore.quant import QUANTISERS, quantiser
from kmem.kstore.verify import verify
from kmem.memories import EMPTY_SLOT, Memories
from tests.kstore.kit import (
    NgramEmbedder,
    contents,
    damaged,
    tiny_chunks,
    tiny_codec,
    tiny_memories,
    tiny_spec,
    write_bank,
    write_cold_bank,
)

COUNT = 5


def memories_of(*rows: int, count: int = COUNT) -> Memories:
    return tiny_memories(tiny_spec(), tiny_chunks(count)).take(rows)


def store(path: Path, *rows: int, count: int = COUNT) -> None:
    with open_bank(path) as bank:
        store_memories(bank, memories_of(*rows, count=count))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_cold_bank(tmp_path / "bank", count=COUNT)
    return tmp_path / "bank"


@pytest.mark.parametrize("name", QUANTISERS)
def test_what_was_stored_reads_like_a_shard_and_zarr_python_reads_the_same(tmp_path: Path, name: str) -> None:
    write_cold_bank(tmp_path / "cold", name=name)
    write_bank(tmp_path / "full", name=name)
    with open_bank(tmp_path / "cold") as cold, open_bank(tmp_path / "full") as full:
        store_memories(cold, memories_of(3, 1))
        ids = full.ids[[1, 3]].tolist()
        ours, theirs = cold.read(ids), full.read(ids)
        assert torch.equal(ours.kv, theirs.kv)
        assert torch.equal(ours.slot_position, theirs.slot_position)
        assert torch.equal(ours.lengths, theirs.lengths)
        assert torch.equal(cold.read(ids, positions=False).slot_position, full.read(ids, positions=False).slot_position)
        raw = [np.empty((2, *bank.record_shape), dtype=bank.record_dtype) for bank in (cold, full)]
        for bank, out in zip((cold, full), raw, strict=True):
            bank.read_into(ids, out)
        assert np.array_equal(raw[0], raw[1])
        group = zarr.open_group(str(tmp_path / "cold" / "memories.zarr"), mode="r")
        kv = np.asarray(zarr.open_array(str(tmp_path / "cold" / "memories.zarr"), path="g0000/kv", mode="r")[:])
        positions = np.asarray(zarr.open_array(str(tmp_path / "cold" / "memories.zarr"), path="g0000/slot_position", mode="r")[:])
        assert "g0000" in group
        assert np.array_equal(kv[[1, 3]], raw[0])
        assert not kv[[0, 2, 4]].any()
        assert np.array_equal(positions[[1, 3]], theirs.slot_position.numpy())
        assert (positions[[0, 2, 4]] == EMPTY_SLOT).all()


def test_zarr_python_could_have_written_it(path: Path) -> None:
    store(path, *range(COUNT))
    ours = records_in(path)
    assert len(ours) == 2 * COUNT
    for name in ("kv", "slot_position"):
        array = zarr.open_array(str(path / "memories.zarr"), path=f"g0000/{name}", mode="r+")
        array[:] = np.asarray(array[:])
    assert records_in(path) == ours


def records_in(path: Path) -> dict[str, bytes]:
    """The files that are written on demand."""
    return {name: data for name, data in contents(path).items() if "/kv/c." in name or "/slot_position/c." in name}


def test_a_memory_that_is_not_there_is_named(path: Path) -> None:
    with open_bank(path, NgramEmbedder()) as bank:
        ids = bank.ids.tolist()
        store_memories(bank, memories_of(2))
        with pytest.raises(
            MemoryNotEncodedError, match=rf"4 memories of .*bank \({ids[0]}, .*, …\) are not encoded yet.*kmem encode"
        ) as caught:
            bank.read(ids)
        assert caught.value.ids == (ids[0], ids[1], ids[3], ids[4])
        with pytest.raises(MemoryNotEncodedError, match=f"Memory {ids[0]} of"):
            bank.slot_position(ids[:1])
        with pytest.raises(LookupError):
            bank.read_into(ids[:1], np.empty((1, *bank.record_shape), dtype=bank.record_dtype))
        assert bank.encoded(ids).tolist() == [False, False, True, False, False]
        sizes = bank.sizes()
        assert (sizes.memories, sizes.encoded, sizes.payload_bytes) == (5, 1, sizes.record_bytes)
        assert sizes.stored_bytes == sum(len(data) for name, data in contents(path).items() if not name.startswith("build/"))
        assert len(bank.search("hash table", k=5)) == 5
        assert bank.read([]).ids == ()


def test_a_stored_record_is_never_changed(path: Path) -> None:
    store(path, 0)
    before = contents(path)
    other = memories_of(0)
    with open_bank(path) as bank:
        store_memories(bank, replace(other, kv=other.kv + 1))
    assert contents(path) == before


def test_what_can_not_be_stored(path: Path) -> None:
    with open_bank(path) as bank:
        some = memories_of(0, 1)
        with pytest.raises(IdentityMismatchError, match="selector"):
            store_memories(bank, replace(some, spec=tiny_spec(selector="first")))
        with pytest.raises(ConfigError, match=r"has 2 tokens where .* records 1"):
            store_memories(bank, replace(some, lengths=some.lengths + 1))
        with pytest.raises(ConfigError, match="without their slot positions"):
            store_memories(bank, replace(some, slot_position=bank.unread_positions(some.lengths.numpy())))
        assert not bank.encoded(bank.ids.tolist()).any()


def test_every_flipped_byte_and_every_cut_is_named(path: Path) -> None:
    store(path, 1, 4)
    records = list(records_in(path))
    assert len(records) == 4
    for name in records:
        data = (path / name).read_bytes()
        for changed in [
            *(data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :] for at in range(0, len(data), 5)),
            data[:-1],
            b"",
            data + b"!",
        ]:
            with damaged(path / name, changed):
                with pytest.raises(CorruptBankError, match=rf"{name}.*delete .*/kv/c\.\d\.0\.0\.0, and the memory is encoded again"):
                    verify(path)
                with open_bank(path) as bank, pytest.raises(CorruptBankError, match=name):
                    bank.read(bank.ids[[1, 4]].tolist())
                with pytest.raises(CorruptBankError, match=name) if "/kv/" in name else open_bank(path):
                    store(path, 1, 4)  # never silently written again
                assert (path / name).read_bytes() == changed
    missing = next(name for name in records if "slot_position/c.4" in name)
    (path / missing).unlink()
    with pytest.raises(CorruptBankError, match=f"{missing} is missing"):
        verify(path)


def test_the_way_out_of_damage(path: Path) -> None:
    store(path, *range(COUNT))
    before = contents(path)
    kv, slots = (path / "memories.zarr" / "g0000" / name for name in ("kv/c.2.0.0.0", "slot_position/c.2.0"))
    slots.write_bytes(b"damaged")
    kv.unlink()
    store(path, *range(COUNT))
    assert contents(path) == before
    assert verify(path, deep=True)["memories_read"] == COUNT


def test_sweeping_keeps_records_of_live_generations_and_nothing_else(path: Path) -> None:
    store(path, 0, 3)
    before = contents(path)
    old = path / "memories.zarr" / "g0007-0123456789ab" / "kv" / "c.0.0.0.0"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"of a generation that no manifest knows")
    with open_bank(path) as bank:
        assert sweep(bank.place, kept) == (1, len(b"of a generation that no manifest knows"))
    assert contents(path) == before
    assert compact(path).manifest.number == 2  # what was encoded goes into a shard
    assert compact(path).manifest.number == 2


def test_compacting_puts_into_shards_what_is_encoded(path: Path) -> None:
    store(path, 0, 3)
    with open_bank(path) as held:
        delete(path, held.ids[[0, 1]].tolist())
        done = compact(path)
        store_memories(held, memories_of(4))  # whoever has the old state open goes on in it
        assert held.encoded(held.ids.tolist()).sum() == 3
    assert [generation.on_demand for generation in done.manifest.generations] == [False, True]
    with open_bank(path, NgramEmbedder()) as bank:
        ids = bank.ids.tolist()
        assert ids == [chunk.id for chunk in np.array(tiny_chunks(COUNT), dtype=object)[[3, 2, 4]]]
        assert bank.encoded(ids).tolist() == [True, False, False]
        store_memories(bank, memories_of(2, 4))
        _same(bank, ids)
        assert {hit.id for hit in bank.search("hash", k=5)} == set(ids)
    verify(path, deep=True)
    assert not compact(path).manifest.on_demand
    with open_bank(path) as bank:
        assert set(records_in(path)) <= {file.file for file in bank.manifest.files}  # shards now, no loose record
        _same(bank, ids)


def test_merging_and_converting_want_everything_encoded(path: Path, tmp_path: Path) -> None:
    store(path, 0)
    write_bank(tmp_path / "full", count=8)
    with pytest.raises(MemoryNotEncodedError, match=r"4 memories of .*bank"):
        merge([tmp_path / "full", path], tmp_path / "both")
    with pytest.raises(MemoryNotEncodedError):
        convert(path, quantiser("int8"), tmp_path / "int8")
    assert not (tmp_path / "both").exists()
    assert not (tmp_path / "int8").exists()
    store(path, *range(1, COUNT))
    assert merge([path, tmp_path / "full"], tmp_path / "both").rows == 8
    assert convert(path, quantiser("int8"), tmp_path / "int8").rows == COUNT


def test_storing_beside_a_writer_that_tidies_up(tmp_path: Path) -> None:
    """A compaction or an append deletes unfinished files; those of whoever stores records just now are written again."""
    write_cold_bank(tmp_path / "bank", count=40)
    done = threading.Event()

    def tidy() -> None:
        with open_bank(tmp_path / "bank") as bank:
            while not done.wait(0.05):
                bank.place.tidy()

    other = threading.Thread(target=tidy)
    other.start()
    try:
        store(tmp_path / "bank", *range(40), count=40)
    finally:
        done.set()
        other.join()
    assert verify(tmp_path / "bank", deep=True)["memories_read"] == 40


def test_opening_and_looking_for_one_list_no_records(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(path, 1)
    listed: list[str] = []
    original = LocalPlace.sizes

    def noted(place: LocalPlace, below: str = "") -> Mapping[str, int]:
        listed.append(below)
        return original(place, below)

    monkeypatch.setattr(LocalPlace, "sizes", noted)
    with open_bank(path) as bank:
        ids = bank.ids.tolist()
        assert bank.encoded(ids[1:2]).tolist() == [True]
        assert bank.encoded(ids[2:3]).tolist() == [False]
        assert len(bank.read(ids[1:2])) == 1
    assert set(listed) == {"manifests"}


def test_looked_for_by_name_and_listed_say_the_same(tmp_path: Path) -> None:
    path, there = tmp_path / "bank", [0, 7, 8, 39]
    write_cold_bank(path, count=40, rows_per_shard=9)
    store(path, *there, count=40)
    with open_bank(path) as bank:
        ids = bank.ids.tolist()
        assert np.flatnonzero(bank.encoded(ids)).tolist() == there
        assert [row for row in range(40) if bank.encoded([ids[row]])[0]] == there
        assert bank.encoded([ids[8], ids[1], ids[8], ids[39]]).tolist() == [True, False, True, True]
        assert bank.encoded([]).tolist() == []


def test_a_file_of_a_row_that_the_generation_lacks_is_nobodys(path: Path) -> None:
    store(path, 1)
    for name in (f"kv/c.{COUNT}.0.0.0", "kv/c.99.0.0.0", "kv/c.02.0.0.0", "kv/c.2.0", f"slot_position/c.{COUNT}.0"):
        (path / "memories.zarr" / "g0000" / name).write_bytes(b"not ours")
    with open_bank(path) as bank:
        assert bank.encoded(bank.ids.tolist()).tolist() == [False, True, False, False, False]
        before = bank.sizes().stored_bytes
        assert before == sum(len(data) for name, data in contents(path).items() if not name.startswith("build/")) - 5 * len(b"not ours")
    assert verify(path, deep=True)["memories_read"] == 1
    assert compact(path).manifest.rows == COUNT


def test_of_two_writers_at_once_the_first_ones_record_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one comes between a writer's look for the record and its own writing."""
    original = LocalPlace.create

    def overtaken(place: LocalPlace, file: str, data: Buffer) -> None:
        monkeypatch.undo()
        store(path, 2)
        original(place, file, data)

    monkeypatch.setattr(LocalPlace, "create", overtaken)
    with open_bank(path) as bank:
        late = memories_of(2)
        store_memories(bank, replace(late, kv=late.kv + 1))
        _same(bank, bank.ids[[2]].tolist())
    assert verify(path, deep=True)["memories_read"] == 1


@pytest.mark.parametrize("array", ["kv", "slot_position"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "longer"])
def test_damage_is_found_by_reading_and_by_verifying(path: Path, array: str, damage: str) -> None:
    store(path, *range(COUNT))
    generator = np.random.default_rng(0)
    for name, data in records_in(path).items():
        if f"/{array}/" in name:
            at, mask = int(generator.integers(len(data))), int(generator.integers(1, 256))
            flipped = data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
            changed = {"flipped": flipped, "cut": data[:at], "empty": b"", "longer": data + data}[damage]
            with damaged(path / name, changed):
                with open_bank(path) as bank, pytest.raises(CorruptBankError, match=name):
                    bank.read(bank.ids.tolist())
                with pytest.raises(CorruptBankError, match=name):
                    verify(path, deep=True)
    assert verify(path, deep=True)["memories_read"] == COUNT


@pytest.mark.parametrize("array", ["kv", "slot_position"])
def test_a_folder_where_a_record_should_be(path: Path, array: str) -> None:
    store(path, 0, 1)
    name = next(name for name in records_in(path) if f"/{array}/c.1" in name)
    (path / name).unlink()
    (path / name).mkdir()
    says = f"{name} is a folder where a file should be: delete it"
    with open_bank(path) as bank:
        with pytest.raises(CorruptBankError, match=says):
            bank.read(bank.ids[[0, 1]].tolist())
        if array == "kv":
            with pytest.raises(CorruptBankError, match=says):
                store_memories(bank, memories_of(1))
        else:
            with pytest.raises(CorruptBankError, match=says):
                verify(path)
            (path / name.replace("slot_position/c.1.0", "kv/c.1.0.0.0")).unlink()
            with pytest.raises(CorruptBankError, match=says):
                store_memories(bank, memories_of(1))


@pytest.mark.parametrize("kind", ["loose", "sharded"])
def test_a_token_past_the_end_of_its_text_is_found(tmp_path: Path, kind: str) -> None:
    path, some = tmp_path / "bank", memories_of(0, 1, 2)
    wrong = some.slot_position.clone()
    wrong[2, 0] = int(some.lengths[2])
    some = replace(some, slot_position=wrong)
    if kind == "loose":
        write_cold_bank(path, count=3)
        with open_bank(path) as bank:
            store_memories(bank, some)
    else:
        write_bank(path, count=3, memories=some)
    verify(path)
    with pytest.raises(CorruptBankError, match=f"memory {some.ids[2]} keeps a token past the 3 that it has"):
        verify(path, deep=True)


def test_a_manifest_that_does_not_say_has_shards(path: Path) -> None:
    generation = json.loads(json.dumps(write_bank(path.parent / "full").generations[0].to_dict()))
    del generation["on_demand"]
    assert not Generation.of(Fields(generation)).on_demand


def _same(bank: Bank, ids: list[int]) -> None:
    expected = {memory.ids[0]: memory for memory in (memories_of(row) for row in range(COUNT))}
    found, codec = bank.read(ids), tiny_codec("fp16")
    for row, memory_id in enumerate(ids):
        assert torch.equal(found.kv[row], codec.decode(codec.encode(expected[memory_id].kv))[0])
        assert torch.equal(found.slot_position[row], expected[memory_id].slot_position[0])


def test_no_loose_record_outlives_the_states_that_could_read_it(path: Path) -> None:
    store(path, 0, 1)
    with open_bank(path) as held:
        before = records_in(path)
        assert compact(path).held_states == 1
        store_memories(held, memories_of(2))  # into the state that it has open
        assert before.items() < records_in(path).items()
    assert compact(path).held_states == 0
    _only_what_is_listed(path)
    store(path, 3)
    with open_bank(path) as held:
        held.lengths(memories_of(4).ids)
        assert compact(path, held_too=True).held_states == 0
        _only_what_is_listed(path)
        store_memories(held, memories_of(4))  # its state is gone: nobody will ever find this
        assert len(records_in(path)) > len([file for file in records_in(path) if file in _listed(path)])
    compact(path)
    _only_what_is_listed(path)
    assert verify(path, deep=True)["memories_read"] == 3  # of rows 0, 1 and 3


def _listed(path: Path) -> set[str]:
    with open_bank(path) as bank:
        return {file.file for file in bank.manifest.files}


def _only_what_is_listed(path: Path) -> None:
    """No record of this bank's generations was stored one by one since they were made."""
    assert set(records_in(path)) <= _listed(path)
    assert len([name for name in contents(path) if name.startswith("manifests/")]) == 1
