"""No damage goes unnoticed: every flipped byte, every cut, in every file, ends in an error that names the file."""

from pathlib import Path

import numpy as np
import pytest

from kmem.errors import CorruptBankError, UnknownNameError
from kmem.kstore.bank import open_bank
from kmem.kstore.shard import Verify
from tests.kstore.kit import NgramEmbedder, contents, damaged, write_bank


def use_everything(path: Path) -> None:
    """Open, read every memory and the bracket, search; the answers themselves are compared elsewhere."""
    with open_bank(path, NgramEmbedder()) as bank:
        bank.read(bank.ids.tolist())
        bank.search("hash table", k=len(bank))


def flipped(data: bytes, position: int, mask: int) -> bytes:
    return data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]


@pytest.fixture(scope="module")
def bank_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corruption") / "bank"
    write_bank(path)
    return path


def data_files(path: Path) -> dict[str, bytes]:
    return {file: data for file, data in contents(path).items() if not file.startswith("build/")}


def assert_detected(path: Path, file: str, data: bytes) -> None:
    with damaged(path / file, data), pytest.raises(CorruptBankError, match=Path(file).name):
        use_everything(path)


def test_the_bank_is_whole_before(bank_path: Path) -> None:
    use_everything(bank_path)


def test_every_file_is_listed(bank_path: Path) -> None:
    with open_bank(bank_path) as bank:
        assert {file.file for file in bank.files()} == data_files(bank_path).keys()


def test_every_flipped_byte_is_detected(bank_path: Path) -> None:
    generator = np.random.default_rng(0)
    files = data_files(bank_path)
    spots = [(file, int(generator.integers(len(data)))) for file, data in files.items() for _ in range(4)]
    total = np.cumsum([len(data) for data in files.values()])
    for place in generator.integers(total[-1], size=200):
        number = int(np.searchsorted(total, place, side="right"))
        name = list(files)[number]
        spots.append((name, int(place - (total[number] - len(files[name])))))
    for file, position in spots:
        assert_detected(bank_path, file, flipped(files[file], position, int(generator.integers(1, 256))))


def test_every_flipped_byte_of_a_shard_index_is_detected(bank_path: Path) -> None:
    index_bytes = 2 * 16 + 4
    for file, data in data_files(bank_path).items():
        if "/kv/c." in file:
            for position in range(len(data) - index_bytes, len(data)):
                assert_detected(bank_path, file, flipped(data, position, 1 << position % 8))


def test_every_cut_is_detected(bank_path: Path) -> None:
    for file, data in data_files(bank_path).items():
        for length in {0, 1, len(data) // 3, len(data) // 2, len(data) - 4, len(data) - 1}:
            assert_detected(bank_path, file, data[:length])
        assert_detected(bank_path, file, data + b"\0")


def test_every_missing_file_is_detected(bank_path: Path) -> None:
    for file, data in data_files(bank_path).items():
        if not file.startswith("manifests/"):
            (bank_path / file).unlink()
            with pytest.raises(CorruptBankError, match="missing"):
                open_bank(bank_path)
            (bank_path / file).write_bytes(data)


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    """Before opening, and while the bank is open."""
    write_bank(tmp_path)
    for file, data in data_files(tmp_path).items():
        with open_bank(tmp_path, NgramEmbedder()) as bank:
            (tmp_path / file).unlink()
            (tmp_path / file).mkdir()
            with pytest.raises(CorruptBankError, match=Path(file).name):
                use_everything(tmp_path)
            if file.startswith("manifests/"):
                bank.read(bank.ids.tolist())
            else:
                with pytest.raises(CorruptBankError, match=rf"{Path(file).name} is a folder where a file should be"):
                    bank.verify()
        (tmp_path / file).rmdir()
        (tmp_path / file).write_bytes(data)
    use_everything(tmp_path)


def test_a_shard_in_the_place_of_another_is_refused_for_its_length(bank_path: Path) -> None:
    shards = [file for file in data_files(bank_path) if "/kv/c." in file]
    with damaged(bank_path / shards[0], (bank_path / shards[2]).read_bytes()), pytest.raises(CorruptBankError, match=r"208.*436|bytes"):
        open_bank(bank_path)


def test_opening_reads_no_data(bank_path: Path) -> None:
    files = [file for file in data_files(bank_path) if not file.startswith("manifests/") and not file.endswith("zarr.json")]
    for file in files:
        data = (bank_path / file).read_bytes()
        with damaged(bank_path / file, flipped(data, len(data) // 2, 1)):
            open_bank(bank_path, NgramEmbedder()).close()


def test_truncated_record_raises(bank_path: Path) -> None:
    """LMCache ignores the return of `readinto` and serves partly stale keys; here the file's length is compared first."""
    file = next(file for file in data_files(bank_path) if "/kv/c." in file)
    assert_detected(bank_path, file, (bank_path / file).read_bytes()[:100])


@pytest.mark.parametrize("unknown", ["allways", None, 1])
def test_an_unknown_verify_is_refused(bank_path: Path, unknown: object) -> None:
    """Not taken for `first`: whoever asks for more checking must not get less."""
    with pytest.raises(UnknownNameError, match="verify"):
        open_bank(bank_path, verify=unknown)  # type: ignore[arg-type]


@pytest.mark.parametrize("every_time", ["always", True])
def test_verify_always_sees_damage_after_the_first_read(bank_path: Path, every_time: Verify | bool) -> None:
    with open_bank(bank_path) as first, open_bank(bank_path, verify=every_time) as always:
        ids = first.ids[:1].tolist()
        first.read(ids)
        always.read(ids)
        file = bank_path / first.manifest.generations[0].shards[0].files[0].file
        data = file.read_bytes()
        with damaged(file, flipped(data, 3, 1)):
            first.read(ids)
            with pytest.raises(CorruptBankError, match="row 0 has crc32c"):
                always.read(ids)


def test_a_file_cut_under_an_open_bank_is_an_error_and_not_the_end_of_the_process(bank_path: Path) -> None:
    with open_bank(bank_path) as bank:
        ids = bank.ids[:2].tolist()
        bank.read(ids)
        file = bank_path / bank.manifest.generations[0].shards[0].files[0].file
        with damaged(file, file.read_bytes()[:10]), pytest.raises(CorruptBankError, match="has 10 bytes"):
            bank.read(ids)
