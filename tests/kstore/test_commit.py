"""Manifests: exclusive, immutable, and honest about damage."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from kmem.errors import BankExistsError, ConfigError, CorruptBankError, FormatVersionError
from kmem.kstore.bank import open_bank
from kmem.kstore.commit import canonical_json, latest_manifest, manifest_numbers, read_manifest, write_manifest
from kmem.kstore.manifest import Manifest, Shard
from kmem.kstore.place import LocalPlace
from tests.kstore.kit import write_bank, write_manifest_json


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
    data = manifest.to_dict() | {"format_version": 4}
    (tmp_path / "manifests").mkdir()
    write_manifest_json(tmp_path / "manifests/000001.json", data)
    with pytest.raises(FormatVersionError, match=r"version 4; kmem reads 1, 2, 3; upgrade"):
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
