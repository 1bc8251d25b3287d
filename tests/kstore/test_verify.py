"""kmem verify finds what is damaged, and --repair-index makes an index again."""

from pathlib import Path

import pytest

from kmem.errors import BankNotFoundError, CorruptBankError
from kmem.kstore.bank import open_bank
from kmem.kstore.verify import repair_index, verify
from tests.kstore.kit import NgramEmbedder, contents, write_bank


def test_a_whole_bank(tmp_path: Path) -> None:
    write_bank(tmp_path / "bank")
    files = len([file for file in contents(tmp_path / "bank") if not file.startswith(("build/", "manifests/"))])
    assert verify(tmp_path / "bank") == {"files": files, "memories": 0}
    assert verify(tmp_path / "bank", deep=True) == {"files": files, "memories": 5}


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


def test_no_bank(tmp_path: Path) -> None:
    with pytest.raises(BankNotFoundError):
        repair_index(tmp_path)
