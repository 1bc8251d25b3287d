"""Deleting, compacting, merging and converting: nothing lost, readers keep their state, ids and answers stay."""

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from kmem.errors import BankExistsError, ConfigError, CorruptBankError, IdentityMismatchError, MemoryNotFoundError
from kmem.kstore.bank import Bank, open_bank
from kmem.kstore.chunks import KEPT_FILES
from kmem.kstore.claim import is_unfinished_build, require_claimable
from kmem.kstore.fill import store_memories
from kmem.kstore.life import compact, convert, delete, merge
from kmem.kstore.lock import locked
from kmem.kstore.manifest import FORMAT_VERSION, READABLE_VERSIONS
from kmem.kstore.place import LocalPlace, Place
from kmem.kstore.place.local import KEPT_MAPS
from kmem.kstore.quant import quantiser
from kmem.kstore.verify import repair_index, verify
from kmem.kstore.where import Condition, matching
from tests.faults import bank_files
from tests.kstore.golden import bank_of
from tests.kstore.kit import (
    NgramEmbedder,
    as_format_2,
    contents,
    damaged,
    tiny_chunks,
    tiny_memories,
    tiny_spec,
    write_bank,
    write_cold_bank,
    write_manifest_json,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_bank(tmp_path / "bank")
    return tmp_path / "bank"


def said(bank: Bank) -> dict[int, tuple[list[float], str]]:
    """What each memory holds."""
    ids = bank.ids.tolist()
    kv = bank.read(ids).kv.float().flatten(1).tolist()
    return {memory_id: (row, bank.chunk(memory_id).reference) for memory_id, row in zip(ids, kv, strict=True)}


def test_a_deleted_memory_is_gone_and_search_finds_the_next_best(path: Path) -> None:
    with open_bank(path, NgramEmbedder()) as bank:
        before, ids = said(bank), bank.ids.tolist()
    delete(path, ids[1:3])
    with open_bank(path, NgramEmbedder()) as bank:
        assert said(bank) == {memory_id: before[memory_id] for memory_id in (ids[0], *ids[3:])}
        assert len(bank.search("hash table", k=3)) == 3
        with pytest.raises(MemoryNotFoundError, match="was deleted"):
            bank.read([ids[1]])
    with pytest.raises(MemoryNotFoundError):
        delete(path, [ids[1]])
    with pytest.raises(MemoryNotFoundError, match="no memory with id 12345"):
        delete(path, [12345])


def test_compaction_keeps_what_is_left_and_frees_the_rest(path: Path) -> None:
    with open_bank(path) as bank:
        ids = bank.ids.tolist()
    delete(path, ids[:2])
    with open_bank(path, NgramEmbedder()) as bank:
        before, hits = said(bank), bank.search("hash table", k=3)
    done = compact(path)
    assert done.deleted_files > 5
    with open_bank(path, NgramEmbedder()) as bank:
        assert said(bank) == before
        assert [(hit.id, hit.text) for hit in bank.search("hash table", k=3)] == [(hit.id, hit.text) for hit in hits]
        listed = {file.file for file in bank.files()}
        assert bank.manifest.deleted == ()
    assert {file for file in contents(path) if not file.startswith("build/")} == listed


def test_a_compacted_bank_without_its_manifest_is_no_unfinished_build(path: Path) -> None:
    """Going on with the build would bring back what was deleted, and leave out what was appended."""
    (path / "build").mkdir(exist_ok=True)
    (path / "build/writer.json").write_text("{}")
    with open_bank(path) as bank:
        some = bank.ids[:1].tolist()
    delete(path, some)
    compact(path)
    shutil.rmtree(path / "manifests")
    assert not is_unfinished_build(LocalPlace(path))
    with pytest.raises(BankExistsError, match="is not empty and not an unfinished build"):
        require_claimable(LocalPlace(path))


def test_a_reader_keeps_its_state_through_a_compaction(path: Path) -> None:
    with open_bank(path, NgramEmbedder()) as reader:
        ids = reader.ids.tolist()
        delete(path, ids[:4])
        compact(path)
        assert len(said(reader)) == 5  # nothing of it was read before
        assert len(reader.search("hash table", k=5)) == 5
        with open_bank(path) as newer:
            assert newer.ids.tolist() == ids[4:]
        assert compact(path).held_states == 1
    files = len(contents(path))
    done = compact(path)
    assert (done.deleted_files > 0, done.held_states) == (True, 0)  # nobody reads the older states any more
    assert len(contents(path)) < files


def test_compacting_twice_changes_nothing(path: Path) -> None:
    compact(path)
    before = contents(path)
    assert compact(path).deleted_files == 0
    assert contents(path) == before


def test_compacting_what_is_not_encoded_changes_nothing(tmp_path: Path) -> None:
    write_cold_bank(tmp_path / "cold")
    before = contents(tmp_path / "cold")
    assert compact(tmp_path / "cold").manifest.number == 1
    assert bank_files(tmp_path / "cold").items() <= before.items()
    with open_bank(tmp_path / "cold") as bank:
        store_memories(bank, tiny_memories(tiny_spec(), tiny_chunks(5)).take([3]))
    first = compact(tmp_path / "cold").manifest
    assert [(generation.on_demand, generation.rows) for generation in first.generations] == [(False, 1), (True, 4)]
    assert compact(tmp_path / "cold").manifest == first  # one row in a shard, and none encoded since


def test_files_of_others_stay(path: Path) -> None:
    (path / "notes.txt").write_text("mine")
    delete(path, [int(tiny_chunks(5)[0].id)])
    compact(path)
    assert (path / "notes.txt").read_text() == "mine"


def test_what_is_damaged_is_named_while_it_is_copied(path: Path, tmp_path: Path) -> None:
    shard = next((path / "memories.zarr").rglob("kv/c.0.0.0.0"))
    data = bytearray(shard.read_bytes())
    data[5] ^= 1
    shard.write_bytes(data)
    delete(path, [int(tiny_chunks(5)[4].id)])
    for change in (lambda: compact(path), lambda: convert(path, quantiser("bf16"), tmp_path / "new")):
        with pytest.raises(CorruptBankError, match=f"{path}.*row 0 has crc32c"):
            change()


def test_nothing_left_is_refused(path: Path) -> None:
    with open_bank(path) as bank:
        ids = bank.ids.tolist()
    delete(path, ids)
    with open_bank(path, NgramEmbedder()) as bank:
        assert bank.search("hash", k=5) == []
    with pytest.raises(ConfigError, match="Nothing is left"):
        compact(path)


def test_merging_keeps_each_id_once(path: Path, tmp_path: Path) -> None:
    write_bank(tmp_path / "more", count=7, rows_per_shard=3)
    with open_bank(path) as first, open_bank(tmp_path / "more") as second:
        expected = said(second) | said(first)
    merge([path, tmp_path / "more"], tmp_path / "both", shard_bytes=1)
    with open_bank(tmp_path / "both", NgramEmbedder()) as both:
        assert said(both) == expected
        assert len(both.manifest.generations[0].shards) == 7
        assert len(both.search("hash table", k=7)) == 7


def test_merging_refuses_what_is_not_alike(path: Path, tmp_path: Path) -> None:
    write_bank(tmp_path / "other", name="bf16")
    with pytest.raises(IdentityMismatchError, match=r"quantiser \(fp16 and bf16\).*kmem convert"):
        merge([path, tmp_path / "other"], tmp_path / "both")
    write_bank(tmp_path / "salted", embedder=NgramEmbedder(salt="x"))
    with pytest.raises(IdentityMismatchError, match="embedder"):
        merge([path, tmp_path / "salted"], tmp_path / "both")
    with pytest.raises(ConfigError, match="at least two"):
        merge([path], tmp_path / "both")
    assert not (tmp_path / "both").exists()
    with pytest.raises(ConfigError, match="is named twice"):
        merge([path, tmp_path / "other" / ".." / path.name], tmp_path / "both")
    assert not (tmp_path / "both").exists()
    write_bank(tmp_path / "more", count=7)
    with pytest.raises(BankExistsError):
        merge([path, tmp_path / "more"], tmp_path / "other")


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_converting_stores_the_same_memories_in_other_numbers(path: Path, tmp_path: Path, name: str) -> None:
    convert(path, quantiser(name), tmp_path / "new", shard_bytes=1000)
    with open_bank(path) as old, open_bank(tmp_path / "new", NgramEmbedder()) as new:
        ids = old.ids.tolist()
        codec = quantiser(name)
        assert torch.equal(new.read(ids).kv, codec.decode(codec.encode(old.read(ids).kv)))
        assert torch.equal(new.slot_position(ids), old.slot_position(ids))
        assert new.chunks(ids) == old.chunks(ids)
        assert len(new.search("hash table", k=5)) == 5


def test_converting_to_the_quantiser_it_has_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{path} stores its memories as fp16 already"):
        convert(path, quantiser("fp16"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("version", READABLE_VERSIONS[:-1])
def test_a_bank_of_an_older_format_lives_on_in_this_one(tmp_path: Path, version: int) -> None:
    path = Path(shutil.copytree(bank_of(version), tmp_path / "bank"))
    with open_bank(path, NgramEmbedder()) as bank:
        before, ids = said(bank), bank.ids.tolist()
    delete(path, ids[:1])
    for change in (lambda: None, lambda: compact(path)):
        change()
        with open_bank(path, NgramEmbedder()) as bank:
            assert bank.manifest.format_version == FORMAT_VERSION
            assert said(bank) == {memory_id: before[memory_id] for memory_id in ids[1:]}
            assert len(bank.search("hash table", k=5)) == 4
        assert verify(path, deep=True)["memories_read"] == 4


@pytest.mark.parametrize("version", READABLE_VERSIONS)
def test_each_file_is_verified_by_the_digest_it_was_written_with(tmp_path: Path, version: int) -> None:
    path = Path(shutil.copytree(bank_of(version), tmp_path / "bank"))
    with open_bank(path) as bank:
        delete(path, bank.ids.tolist()[:1])  # a manifest of this format that lists files of an older one
        shard = path / bank.manifest.generations[0].shards[0].files[0].file
    algorithm = "blake3" if version >= 3 else "sha256"
    data = shard.read_bytes()
    with damaged(shard, data[:5] + bytes([data[5] ^ 1]) + data[6:]), pytest.raises(CorruptBankError, match=f"its {algorithm} begins with"):
        verify(path)


@pytest.mark.parametrize("version", READABLE_VERSIONS)
def test_banks_of_all_formats_merge(path: Path, tmp_path: Path, version: int) -> None:
    merge([bank_of(version), path], tmp_path / "both")
    assert verify(tmp_path / "both", deep=True)["memories_read"] == 5


def test_banks_of_a_trained_quantiser_merge_whatever_their_digests(tmp_path: Path) -> None:
    for name in ("old", "new"):
        write_bank(tmp_path / name, name="vq")
    as_format_2(tmp_path / "old")
    merge([tmp_path / "old", tmp_path / "new"], tmp_path / "both")
    assert verify(tmp_path / "both", deep=True)["memories_read"] == 5


def test_an_unknown_digest_is_not_trusted(path: Path) -> None:
    manifest = path / "manifests/000001.json"
    data = json.loads(manifest.read_bytes())
    data["bracket"]["digest"] = "md5:" + data["bracket"]["digest"].partition(":")[2]
    write_manifest_json(manifest, data)
    with pytest.raises(CorruptBankError, match=r"000001\.json was altered: bracket\.digest is 'md5:.*of none of the algorithms"):
        open_bank(path)


def test_two_writers_at_once_write_files_of_their_own(path: Path) -> None:
    """An object store has no locks: whoever commits first must find his files as he wrote them."""
    with open_bank(path) as bank:
        manifest = bank.manifest
    one, other = manifest.next_generation([1, 2], 2), manifest.next_generation([1, 3], 2)
    assert one != other
    assert one == manifest.next_generation([1, 2], 2)
    assert manifest.next_generation([1, 2], 1) != one
    assert manifest.next_number == 1
    delete(path, [int(tiny_chunks(1)[0].id)])
    assert compact(path).manifest.next_number == 2


def test_one_writer_at_a_time(path: Path) -> None:
    with locked(LocalPlace(path)):
        for change in (lambda: delete(path, [int(tiny_chunks(1)[0].id)]), lambda: compact(path)):
            with pytest.raises(BankExistsError, match="is writing to"):
                change()


@pytest.mark.parametrize("what", ["delete", "repair"])
def test_a_writer_that_was_overtaken_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Another one commits between opening and locking; what is named after the next manifest is that one's."""
    ids = [chunk.id for chunk in tiny_chunks(3)]

    @contextmanager
    def late(place: Place) -> Iterator[Callable[[], None]]:
        monkeypatch.undo()
        delete(path, ids[:1])
        repair_index(path, embedder=NgramEmbedder())
        before.append(contents(path))
        with locked(place) as require_held:
            yield require_held

    before: list[dict[str, bytes]] = []
    monkeypatch.setattr(f"kmem.kstore.{'life' if what == 'delete' else 'verify'}.locked", late)
    with pytest.raises(BankExistsError, match=r"000003\.json exists: another writer committed"):
        delete(path, ids[1:2]) if what == "delete" else repair_index(path, embedder=NgramEmbedder())
    assert contents(path) == before[0]


def test_where_chooses_by_whole_fields(path: Path) -> None:
    with open_bank(path) as bank:
        ids = bank.ids.tolist()
        assert matching(bank, [Condition.parse("source=tiny.txt#1")]) == ids[2:4]
        assert matching(bank, [Condition.parse("source=tiny*"), Condition.parse("title=Title 1")]) == [ids[1]]
        assert matching(bank, [Condition.parse(f"id={ids[4]}")]) == [ids[4]]
        assert matching(bank, [Condition.parse("text=n1")]) == []
    for bad, says in (
        ("source", "is not FIELD=PATTERN"),
        ("=x", "is not FIELD=PATTERN"),
        ("colour=red", "no field 'colour'"),
        ("source=", "no pattern"),
        ("id=abc", "an id is a number"),
    ):
        with pytest.raises(ConfigError, match=says):
            Condition.parse(bad)


class Killed(BaseException):
    """Stands for kill -9: nothing that catches Exception sees it."""


@pytest.mark.parametrize("what", ["delete", "compact"])
def test_killed_before_any_rename_the_bank_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    path = tmp_path / "bank"
    write_bank(path)
    with open_bank(path) as bank:
        ids = bank.ids.tolist()
    delete(path, ids[:1])
    with open_bank(path) as bank:
        before = said(bank)
    change: Callable[[], object] = (lambda: delete(path, ids[1:2])) if what == "delete" else (lambda: compact(path))
    after = {memory_id: kept for memory_id, kept in before.items() if what == "compact" or memory_id != ids[1]}
    left = [0]

    def deadly(original: Callable[..., None]) -> Callable[..., None]:
        def step(*arguments: object) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            original(*arguments)

        return step

    for operation in ("replace", "link", "unlink"):
        monkeypatch.setattr(os, operation, deadly(getattr(os, operation)))
    for killed_at in range(1, 200):
        left[0] = killed_at
        try:
            change()
            break
        except Killed:
            left[0] = 0
            with open_bank(path, NgramEmbedder()) as bank:
                assert said(bank) in (before, after), killed_at
                assert len(bank.search("hash table", k=5)) == len(bank)
            if len(bank) != len(before):
                break
    left[0] = 0
    assert killed_at > 1
    with open_bank(path) as bank:
        assert said(bank) == after
        assert np.array_equal(np.sort(bank.ids), np.sort(list(after)))


def test_a_writer_with_another_zarr_leaves_the_shared_group_as_it_is(path: Path) -> None:
    """How zarr-python spells metadata depends on its version and settings; the root is listed by every generation's manifest."""
    root = path / "memories.zarr" / "zarr.json"
    before = root.read_bytes()
    with zarr.config.set({"json_indent": 7}):
        delete(path, [int(tiny_chunks(1)[0].id)])
        compact(path)
    assert root.read_bytes() == before
    assert verify(path, deep=True)["memories_read"] == 4


def test_many_shards_need_few_descriptors(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held_by_others = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (held_by_others + KEPT_MAPS + 2 * KEPT_FILES + 40, hard))
    try:
        write_bank(tmp_path / "bank", count=200, rows_per_shard=1)
        assert verify(tmp_path / "bank", deep=True)["memories_read"] == 200
        with open_bank(tmp_path / "bank") as bank:
            assert len(said(bank)) == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
