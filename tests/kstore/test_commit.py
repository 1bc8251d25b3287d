"""Manifests: exclusive, immutable, and honest about damage."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from kmem.errors import (
    BankExistsError,
    ConfigError,
    CorruptBankError,
    FormatVersionError,
    IdentityMismatchError,
    KmemError,
    UnknownNameError,
)
from kmem.kstore.bank import open_bank
from kmem.kstore.commit import canonical_json, latest_manifest, manifest_file, manifest_numbers, read_manifest, write_manifest
from kmem.kstore.fill import store_memories
from kmem.kstore.manifest import Manifest, Shard
from kmem.kstore.place import LocalPlace
from tests.kstore.kit import NgramEmbedder, tiny_chunks, tiny_memories, tiny_spec, write_bank, write_cold_bank, write_manifest_json


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return write_bank(tmp_path_factory.mktemp("commit") / "bank")


def test_round_trip(tmp_path: Path, manifest: Manifest) -> None:
    write_manifest(LocalPlace(tmp_path), manifest)
    assert read_manifest(LocalPlace(tmp_path), 1) == manifest
    shard = manifest.generations[0].shards[1]
    assert Shard.from_dict(json.loads(json.dumps(shard.to_dict()))) == shard


def test_the_highest_is_the_bank(tmp_path: Path, manifest: Manifest) -> None:
    for number in (1, 2, 10):
        write_manifest(LocalPlace(tmp_path), replace(manifest, number=number, deleted=(number,)))
    assert manifest_numbers(LocalPlace(tmp_path)) == [1, 2, 10]
    latest = latest_manifest(LocalPlace(tmp_path))
    assert latest is not None
    assert latest.deleted == (10,)


def test_of_two_writers_exactly_one_commits(tmp_path: Path, manifest: Manifest) -> None:
    barrier = Barrier(8)

    def commit(writer: int) -> bool:
        barrier.wait()
        try:
            write_manifest(LocalPlace(tmp_path), replace(manifest, deleted=(writer,)))
        except BankExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(commit, range(8))) == 1
    assert latest_manifest(LocalPlace(tmp_path)) is not None
    assert [path.name for path in (tmp_path / "manifests").iterdir()] == ["000001.json"]


def _creates(place: LocalPlace, text: str) -> bool:
    try:
        place.create("b", text.encode())
    except FileExistsError:
        return False
    return True


def test_a_file_system_without_hard_links_is_exclusive_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    LocalPlace(tmp_path).create("a", b"one")
    with pytest.raises(FileExistsError):
        LocalPlace(tmp_path).create("a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert len(list(tmp_path.iterdir())) == 1
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda writer: _creates(LocalPlace(tmp_path), str(writer)), range(8))) == 1


def test_a_manifest_cut_short_is_damage_too(tmp_path: Path, manifest: Manifest) -> None:
    """A place never shows a file in part, so this was whole once, and the manifest below it is an older bank."""
    write_manifest(LocalPlace(tmp_path), manifest)
    write_manifest(LocalPlace(tmp_path), replace(manifest, number=2, deleted=(1,)))
    path = tmp_path / "manifests/000002.json"
    whole = path.read_bytes()
    for length in [*range(0, 200), *range(200, len(whole) - 9, 61), *range(len(whole) - 9, len(whole))]:
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptBankError, match=r"000002\.json was altered"):
            latest_manifest(LocalPlace(tmp_path))
    path.unlink()
    assert latest_manifest(LocalPlace(tmp_path)) == manifest


def test_the_way_out_of_damage_says_what_is_lost(tmp_path: Path, manifest: Manifest) -> None:
    """Only some manifests have one before them, or a build that would write them again."""

    def told(*numbers: int) -> str:
        place = LocalPlace(tmp_path / "-".join(map(str, numbers)))
        for number in numbers:
            write_manifest(place, replace(manifest, number=number))
        Path(place.at(manifest_file(numbers[-1]))).write_bytes(b"{}")
        with pytest.raises(CorruptBankError) as error:
            latest_manifest(place)
        return str(error.value)

    assert "repeat the kmem build with --resume" in told(1)
    assert "delete it to go back to manifests/000001.json, without what was changed since" in told(1, 2)
    assert "restore it from a copy: no other file says" in told(6)


def test_a_manifest_compacted_away_since_it_was_listed_is_not_damage(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = replace(manifest, number=2)
    write_manifest(LocalPlace(tmp_path), manifest)
    original = LocalPlace.read

    def overtaken(place: LocalPlace, file: str) -> bytes:
        monkeypatch.setattr(LocalPlace, "read", original)
        write_manifest(place, newer)
        place.remove([file])
        return place.read(file)

    monkeypatch.setattr(LocalPlace, "read", overtaken)
    assert latest_manifest(LocalPlace(tmp_path)) == newer


def test_damage_never_steps_back_to_an_older_bank(tmp_path: Path, manifest: Manifest) -> None:
    write_manifest(LocalPlace(tmp_path), manifest)
    write_manifest(LocalPlace(tmp_path), replace(manifest, number=2, deleted=(1,)))
    path = tmp_path / "manifests/000002.json"
    whole = path.read_bytes()
    tail = range(len(whole) - 4, len(whole))
    flips = [(position, mask) for position in tail for mask in range(1, 256, 3)]
    flips += [(position, 1 << position % 8) for position in range(0, len(whole), 37)]
    for position, mask in flips:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ mask]) + whole[position + 1 :])
        with pytest.raises(CorruptBankError, match=r"000002\.json"):
            latest_manifest(LocalPlace(tmp_path))


def test_an_edited_value_is_damage(tmp_path: Path, manifest: Manifest) -> None:
    write_manifest(LocalPlace(tmp_path), manifest)
    path = tmp_path / "manifests/000001.json"
    path.write_bytes(path.read_bytes().replace(b'"kmem_version": "', b'"kmem_version": "9'))
    with pytest.raises(CorruptBankError, match="checksum"):
        latest_manifest(LocalPlace(tmp_path))


def test_a_newer_format_is_told_from_damage(tmp_path: Path, manifest: Manifest) -> None:
    data = manifest.to_dict() | {"format_version": 5}
    (tmp_path / "manifests").mkdir()
    write_manifest_json(tmp_path / "manifests/000001.json", data)
    with pytest.raises(FormatVersionError, match=r"version 5; kmem reads 1, 2, 3, 4; upgrade"):
        latest_manifest(LocalPlace(tmp_path))


def test_json_has_one_spelling() -> None:
    assert canonical_json({"b": (1, 2), "a": {10: "é", 9: 0.1}}) == canonical_json({"a": {"9": 0.1, "10": "é"}, "b": [1, 2]})
    with pytest.raises(ConfigError):
        canonical_json({"a": float("nan")})


def test_a_file_where_the_manifests_should_be(tmp_path: Path) -> None:
    write_bank(tmp_path / "bank")
    for manifest in (tmp_path / "bank" / "manifests").iterdir():
        manifest.unlink()
    (tmp_path / "bank" / "manifests").rmdir()
    (tmp_path / "bank" / "manifests").write_text("")
    with pytest.raises(CorruptBankError, match="is a file where a folder of manifests should be"):
        open_bank(tmp_path / "bank")


def test_a_folder_where_a_manifest_should_be(tmp_path: Path, manifest: Manifest) -> None:
    write_manifest(LocalPlace(tmp_path), manifest)
    (tmp_path / "manifests/000002.json").mkdir()
    with pytest.raises(CorruptBankError, match=r"000002\.json is a folder where a manifest should be: move it away"):
        latest_manifest(LocalPlace(tmp_path))


MISSING = object()
WRONG: list[Any] = ["x", 7, -1, 10**30, 1.5, True, None, [], ["x"], {}, MISSING]
"""What stands where something else belongs; some of it is right, in some places."""


def changed(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The manifest with one field, of any depth, as it must not be, and the name of that field."""
    for path in paths(data):
        for wrong in WRONG:
            other = deepcopy(data)
            inner: Any = other
            for step in path[:-1]:
                inner = inner[step]
            if wrong is not MISSING:
                inner[path[-1]] = wrong
            else:
                del inner[path[-1]]
            if other != data:
                yield f"{'.'.join(map(str, path))} = {wrong!r}", other


def paths(data: Any) -> Iterator[tuple[Any, ...]]:
    """Of every field, and of the first and the last element of every list."""
    steps: list[Any] = list(data) if type(data) is dict else sorted({0, len(data) - 1}) if type(data) is list and data else []
    for step in steps:
        yield (step,)
        yield from ((step, *rest) for rest in paths(data[step]))


def everything(path: Path) -> list[Any]:
    """What the bank answers, its quantiser's numbers included."""
    with open_bank(path, NgramEmbedder()) as bank:
        ids = bank.ids.tolist()
        encoded = bank.ids[bank.encoded(ids)].tolist()
        memories = bank.read(encoded)
        hits = bank.search("hash table", k=3)
        assert memories.spec.bracket.isfinite().all()
        assert bank.sizes().stored_bytes > 0
        return [ids, encoded, memories.kv.tolist(), memories.slot_position.tolist(), hits, bank.chunks(ids)]


@pytest.mark.parametrize("kind", ["vq", "on demand"])
def test_a_manifest_whose_fields_are_misshapen(tmp_path: Path, kind: str) -> None:
    """Its checksum is right: somebody wrote it so. Whatever it says is an error of ours, or the same answers."""
    path = tmp_path / "bank"
    if kind == "on demand":
        write_cold_bank(path, count=2)
        with open_bank(path) as bank:
            store_memories(bank, tiny_memories(tiny_spec(), tiny_chunks(1)))
    else:
        write_bank(path, count=1, name=kind)
    answers, manifest = everything(path), path / "manifests/000001.json"
    data = json.loads(manifest.read_bytes())
    del data["checksum"]
    said: list[tuple[str, KmemError]] = []
    for what, other in changed(data):
        write_manifest_json(manifest, other)
        try:
            assert everything(path) == answers, what
        except KmemError as error:
            said.append((what, error))
        except Exception as error:
            raise AssertionError(what) from error
    assert len(said) > 300
    others = FormatVersionError, IdentityMismatchError, UnknownNameError
    assert not [(what, error) for what, error in said if str(path) not in str(error) and not isinstance(error, others)]


def test_the_file_and_the_field_are_named(tmp_path: Path) -> None:
    write_bank(tmp_path / "bank")
    manifest = tmp_path / "bank/manifests/000001.json"
    data = json.loads(manifest.read_bytes())
    data["generations"][0]["shards"][1]["kv"] = None
    write_manifest_json(manifest, data)
    with pytest.raises(
        CorruptBankError, match=r"000001\.json was altered: generations\[0\]\.shards\[1\] lists kv .* against on_demand; restore"
    ):
        open_bank(tmp_path / "bank")
    data["generations"][0]["shards"] = "none"
    write_manifest_json(manifest, data)
    with pytest.raises(
        CorruptBankError, match=r"000001\.json was altered: generations\[0\]\.shards is 'none', not a list of objects; restore"
    ):
        open_bank(tmp_path / "bank")
