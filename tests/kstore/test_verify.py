"""kmem verify finds what is damaged, and --repair-index makes an index again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kmem.errors import BankNotFoundError, CorruptBankError
from kmem.kstore.bank import open_bank
from kmem.kstore.life import delete
from kmem.kstore.stored import describe
from kmem.kstore.verify import repair_index, verify
from tests.kstore.kit import NgramEmbedder, contents, write_bank, write_cold_bank, write_manifest_json


def test_a_whole_bank(tmp_path: Path) -> None:
    write_bank(tmp_path / "bank")
    files = len([file for file in contents(tmp_path / "bank") if not file.startswith(("build/", "manifests/"))])
    assert verify(tmp_path / "bank") == {"files": files, "memories": 5, "memories_read": None}
    assert verify(tmp_path / "bank", deep=True) == {"files": files, "memories": 5, "memories_read": 5}


def test_every_damaged_file_is_named(tmp_path: Path) -> None:
    write_bank(tmp_path / "bank")
    for file, data in contents(tmp_path / "bank").items():
        if not file.startswith("build/"):
            (tmp_path / "bank" / file).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            with pytest.raises(CorruptBankError, match=Path(file).name):
                verify(tmp_path / "bank")
            (tmp_path / "bank" / file).write_bytes(data)
    verify(tmp_path / "bank")


def test_all_damage_is_named_at_once(tmp_path: Path) -> None:
    write_bank(tmp_path / "bank")
    names = [file for file in contents(tmp_path / "bank") if "/kv/c." in file][:2]
    for file in names:
        data = (tmp_path / "bank" / file).read_bytes()
        (tmp_path / "bank" / file).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CorruptBankError) as raised:
        verify(tmp_path / "bank")
    assert all(file in str(raised.value) for file in names)


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_an_index_is_made_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "bank"
    write_bank(path)
    with open_bank(path, NgramEmbedder()) as bank:
        hits = [hit.id for hit in bank.search("hash table", k=5)]
    index = path / "index" / "000001.faiss"
    index.unlink() if damage == "missing" else index.write_bytes(bytes(len(index.read_bytes())))
    with pytest.raises(CorruptBankError, match=r"000001\.faiss"):
        verify(path)
    repair_index(path, embedder=NgramEmbedder())
    verify(path, deep=True)
    with open_bank(path, NgramEmbedder()) as bank:
        assert [hit.id for hit in bank.search("hash table", k=5)] == hits


def test_an_index_made_again_knows_what_was_deleted(tmp_path: Path) -> None:
    """What was deleted stays on disk, and a change that follows asks the index for its vector."""
    write_bank(tmp_path / "bank")
    with open_bank(tmp_path / "bank") as bank:
        ids = bank.ids.tolist()
    delete(tmp_path / "bank", ids[:2])
    repair_index(tmp_path / "bank", embedder=NgramEmbedder())
    verify(tmp_path / "bank", deep=True)
    with open_bank(tmp_path / "bank", NgramEmbedder()) as bank:
        assert len(bank.vectors(bank.all_ids.tolist())) == 5
        assert {hit.id for hit in bank.search("hash table", k=5)} == set(ids[2:])


def test_a_deletion_of_what_never_was_there(tmp_path: Path) -> None:
    write_bank(tmp_path / "bank")
    edit(tmp_path / "bank", lambda data: data["deleted"].append(17))
    verify(tmp_path / "bank")
    with pytest.raises(CorruptBankError, match="says that 17 was deleted"):
        verify(tmp_path / "bank", deep=True)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest, and give it the checksum that it has then."""
    manifest = path / "manifests/000001.json"
    data = json.loads(manifest.read_bytes())
    change(data)
    write_manifest_json(manifest, data)


def set_metadata(path: Path, array: str, field: str, value: object) -> None:
    """Give a zarr.json another field, and list it with its new length and digest."""
    file = f"memories.zarr/g0000/{array}/zarr.json"
    content = json.dumps(json.loads((path / file).read_bytes()) | {field: value}).encode()
    (path / file).write_bytes(content)

    def list_it(data: dict[str, Any]) -> None:
        (entry,) = (entry for entry in data["generations"][0]["metadata"] if entry["file"] == file)
        entry |= describe(file, content).to_dict()

    edit(path, list_it)


BYTES = [{"name": "bytes", "configuration": {"endian": "little"}}]


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize(
    ("array", "field", "value", "says"),
    [
        ("kv", "shape", [6, 2, 6, 8], r"has the shape \(6, 2, 6, 8\) where the manifest makes it \(5, 2, 6, 8\)"),
        ("kv", "data_type", "uint16", "has the (attributes|data_type|fill_value)"),
        ("kv", "chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [5, 2, 6, 8]}}, "has the chunk_grid"),
        ("kv", "codecs", BYTES, "has the codecs"),
        ("kv", "attributes", {"dtype": "bfloat16", "quantiser": {"name": "bf16"}}, "has the attributes"),
        ("kv", "chunk_key_encoding", {"name": "default", "configuration": {"separator": "/"}}, r"what zarr\.json calls kv/c/0/0/0/0"),
        ("kv", "node_type", "group", "has the|is not Zarr's metadata"),
        ("slot_position", "shape", [5, 7], "has the shape"),
        ("slot_position", "chunk_key_encoding", {"name": "v2"}, "what zarr.json calls slot_position/"),
        ("length", "fill_value", 9, "has the fill_value 9 where the manifest makes it 0"),
        ("id", "zarr_format", 9, "is not Zarr's metadata"),
        ("id", "codecs", [{"name": "of the future"}], "is not Zarr's metadata"),
    ],
)
def test_metadata_that_says_otherwise(tmp_path: Path, cold: bool, array: str, field: str, value: object, says: str) -> None:
    """Listed with its digest, so that only its meaning gives it away: other readers would see another array."""
    path = tmp_path / "bank"
    (write_cold_bank if cold else write_bank)(path)
    set_metadata(path, array, field, value)
    verify(path)
    with pytest.raises(CorruptBankError, match=rf"/{array}/.*{says}"):
        verify(path, deep=True)


def test_metadata_and_shards_that_are_not_where_zarr_looks(tmp_path: Path) -> None:
    path = tmp_path / "bank"
    write_bank(path)
    edit(path, lambda data: data["generations"][0]["metadata"].pop(0))
    with pytest.raises(CorruptBankError, match=r"does not list memories\.zarr/g0000/id/zarr\.json"):
        verify(path, deep=True)
    write_bank(tmp_path / "moved")
    moved = "memories.zarr/g0000/kv/elsewhere"
    (tmp_path / "moved/memories.zarr/g0000/kv/c.1.0.0.0").rename(tmp_path / "moved" / moved)
    edit(tmp_path / "moved", lambda data: data["generations"][0]["shards"][1]["kv"].update(file=moved))
    verify(tmp_path / "moved")
    with pytest.raises(CorruptBankError, match=r"kv/elsewhere is in the manifest what zarr\.json calls kv/c\.1\.0\.0\.0"):
        verify(tmp_path / "moved", deep=True)


def test_no_bank(tmp_path: Path) -> None:
    with pytest.raises(BankNotFoundError):
        repair_index(tmp_path)
