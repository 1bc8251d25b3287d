"""Real faults under the store: flipped bytes, cut files, a full disk. Never a wrong answer, and the bank before stays whole."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kmem.errors import CorruptBankError
from kmem.kstore.bank import open_bank
from kmem.kstore.life import compact, delete, merge
from kmem.kstore.verify import verify
from tests.faults import Said, answers, bank_files, disk, files_limited_to
from tests.kstore.kit import NgramEmbedder, contents, damaged, tiny_chunks, write_bank

FEW, MANY = 40, 1000
FEW_CUTS, MANY_CUTS = 20, 200


@pytest.fixture(scope="module")
def bank_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty memories under a trained quantiser, one of them deleted: two manifests, of which the older is nobody's."""
    path = tmp_path_factory.mktemp("faults") / "bank"
    write_bank(path, count=20, rows_per_shard=6, name="vq")
    delete(path, [tiny_chunks(1)[0].id])
    return path


def assert_harmless(path: Path, file: str, data: bytes, right: Said, listed: set[str]) -> None:
    """`verify` names the file if it is the bank's, and whoever uses the bank gets the right answer or CorruptBankError."""
    with damaged(path / file, data):
        if file in listed:
            with pytest.raises(CorruptBankError, match=Path(file).name):
                verify(path, deep=True)
        else:
            verify(path, deep=True)
        found: Said | str
        try:
            found = answers(path)
        except CorruptBankError as error:
            found = str(error)
        assert found == right or (isinstance(found, str) and file in listed and file in found), file


def listed_files(path: Path) -> set[str]:
    with open_bank(path) as bank:
        return {file.file for file in bank.files()}


def spots(files: dict[str, bytes], count: int, generator: np.random.Generator) -> Iterator[tuple[str, int]]:
    """A few positions of every file, then positions of all, each byte as likely as any other."""
    names = [name for name, data in files.items() if data]
    each = max(1, min(4, count // (2 * len(names))))
    yield from ((name, int(generator.integers(len(files[name])))) for name in names for _ in range(each))
    lengths = np.array([len(files[name]) for name in names])
    for number in generator.choice(len(names), size=count - each * len(names), p=lengths / lengths.sum()):
        yield names[number], int(generator.integers(lengths[number]))


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_a_flipped_byte_is_found_and_never_believed(bank_path: Path, count: int) -> None:
    generator, files = np.random.default_rng(count), contents(bank_path)
    right, listed = answers(bank_path), listed_files(bank_path)
    tried = 0
    for file, position in spots(files, max(count, 2 * len(files)), generator):
        data = bytearray(files[file])
        data[position] ^= int(generator.integers(1, 256))
        assert_harmless(bank_path, file, bytes(data), right, listed)
        tried += 1
    assert tried >= count
    assert contents(bank_path) == files


@pytest.mark.parametrize("count", [FEW_CUTS, pytest.param(MANY_CUTS, marks=pytest.mark.slow)])
def test_a_cut_file_is_found_and_never_believed(bank_path: Path, count: int) -> None:
    generator, files = np.random.default_rng(count), contents(bank_path)
    right, listed = answers(bank_path), listed_files(bank_path)
    for file, position in spots(files, max(count, 2 * len(files)), generator):
        assert_harmless(bank_path, file, files[file][:position], right, listed)
    assert contents(bank_path) == files


def test_a_full_disk_leaves_the_bank_whole_and_can_be_mended(bank_path: Path, tmp_path: Path) -> None:
    """Real ENOSPC, at several points of compacting and merging."""
    right = answers(bank_path)
    more = tmp_path / "more"
    write_bank(more, count=26, rows_per_shard=6, name="vq")
    compact(shutil.copytree(bank_path, tmp_path / "compacted"))
    merge([bank_path, more], tmp_path / "merged")
    with disk(tmp_path / "disk") as small:
        bank, merged = small.folder / "bank", small.folder / "merged"
        shutil.copytree(bank_path, bank)
        for free_kib in (0, 4, 12, 24, 40):
            shutil.rmtree(merged, ignore_errors=True)
            small.leave(free_kib << 10)
            used = small.used()
            with pytest.raises(OSError, match="No space left"):
                compact(bank)
            assert answers(bank) == right
            assert small.used() <= used + 16384  # of half a copy nothing stays but folders
            with pytest.raises(OSError, match="No space left"):
                merge([bank_path, more], merged)
            assert not merged.exists()
        small.leave(8 << 20)
        merge([bank_path, more], merged)
        assert bank_files(merged) == bank_files(tmp_path / "merged")
        compact(bank)
        assert bank_files(bank) == bank_files(tmp_path / "compacted")


def test_a_file_that_may_not_grow_leaves_the_bank_whole(bank_path: Path, tmp_path: Path) -> None:
    """The same anywhere, by a limit on the length of files."""
    bank = shutil.copytree(bank_path, tmp_path / "bank")
    right, before = answers(bank), bank_files(bank)
    for limit in (0, 100, 1000):
        with files_limited_to(limit), pytest.raises(OSError, match="File too large") as caught:
            compact(bank)
        assert str(bank) in str(caught.value.filename)
        assert bank_files(bank) == before
        with files_limited_to(limit // 2), pytest.raises(OSError, match="File too large"):
            write_bank(tmp_path / "new", count=20, rows_per_shard=6, name="vq")
    assert answers(bank) == right
    compact(bank)
    assert answers(bank) == right
    write_bank(tmp_path / "new", count=20, rows_per_shard=6, name="vq")
    with open_bank(tmp_path / "new", NgramEmbedder()) as new:
        assert len(new) == 20


def test_a_lock_needs_no_room(bank_path: Path, tmp_path: Path) -> None:
    """Deleting is how room is made, so little must be enough for it."""
    with disk(tmp_path / "disk") as small:
        bank = small.folder / "bank"
        shutil.copytree(bank_path, bank)
        (bank / "build" / "lock").unlink()
        (bank / "build" / "lock").touch()
        with open_bank(bank) as opened:
            ids = opened.ids.tolist()
            size = len((bank / "manifests/000002.json").read_bytes())
        small.leave(size + 8192)
        delete(bank, ids[:1])
        assert len(answers(bank).ids) == len(ids) - 1
