"""Whoever changes a bank in an object store (moto's server), and has lost it to another one, commits and deletes nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from kmem.errors import BankExistsError
from kmem.kstore.bank import open_bank
from kmem.kstore.commit import manifest_numbers, read_manifest
from kmem.kstore.life import compact, convert, delete, merge
from kmem.kstore.manifest import Manifest
from kmem.kstore.place import Place, place_of
from kmem.kstore.quant import quantiser
from kmem.kstore.stored import StoredFile, require_sizes
from kmem.kstore.verify import repair_index
from kmem.progress import Progress
from tests import s3
from tests.kstore.kit import NgramEmbedder, tiny_chunks, write_bank

LOST = "This process has lost"
FIRST = [int(tiny_chunks(1)[0].id)]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3.served() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    bucket = s3.use_bucket(endpoint, monkeypatch)
    write_bank(bucket)
    delete(bucket, [int(tiny_chunks(2)[1].id)])
    s3.quick_beats(monkeypatch)
    return bucket


CHANGES: dict[str, Callable[[str, Path, Progress], object]] = {
    "delete": lambda bucket, _, progress: delete(bucket, FIRST),
    "compact": lambda bucket, _, progress: compact(bucket, held_too=True, shard_bytes=1, progress=progress),
    "merge": lambda bucket, other, progress: merge([str(other), str(other) + "2"], bucket + "/new", shard_bytes=1, progress=progress),
    "convert": lambda bucket, other, progress: convert(other, quantiser("int8"), bucket + "/new", shard_bytes=1, progress=progress),
    "repair": lambda bucket, _, progress: repair_index(bucket, embedder=NgramEmbedder(), progress=progress),
}


def changed(what: str, bucket: str, folder: Path, progress: Progress) -> tuple[Place, Mapping[str, int]]:
    """Make the change, which must fail, → the place that was lost, and the files that lie there."""
    place = place_of(bucket + "/new" if what in ("merge", "convert") else bucket)
    if what in ("merge", "convert"):
        write_bank(folder / "bank")
        write_bank(folder / "bank2", count=7)
    with pytest.raises(BankExistsError, match=LOST):
        CHANGES[what](bucket, folder / "bank", progress)
    return place, place.sizes()


@pytest.mark.parametrize("what", CHANGES)
def test_the_last_thing_before_the_commit_is_to_ask(what: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = place_of(bucket).sizes()

    def late(place: Place, files: Sequence[StoredFile]) -> None:
        require_sizes(place, files)
        s3.take_over(place)

    monkeypatch.setattr("kmem.kstore.commit.require_sizes", late)
    place, after = changed(what, bucket, tmp_path, lambda *_: None)
    assert manifest_numbers(place) == ([] if what in ("merge", "convert") else [1, 2])
    assert what in ("merge", "convert") or before.items() <= after.items()


@pytest.mark.parametrize("what", ["compact", "merge", "convert"])
def test_it_ends_soon(what: str, bucket: str, tmp_path: Path) -> None:
    """Not after all shards are copied."""
    stages: list[tuple[str, int]] = []

    def lose(stage: str, done: int, total: int) -> None:
        stages.append((stage, done))
        s3.take_over(place_of(bucket + "/new" if what in ("merge", "convert") else bucket))

    changed(what, bucket, tmp_path, lose)
    assert stages == [("copy", 0)]


@pytest.mark.parametrize("reads", [1, 2])
def test_nothing_is_deleted(reads: int, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost before older states are deleted, or after that, while what no manifest lists is looked for: it may be the other one's."""
    compact(bucket)
    place, number, seen = place_of(bucket), 3, list[int]()
    place.replace("memories.zarr/g0009-other/kv/c/0/0", b"of who writes now")
    before = place.sizes()

    def late(place: Place, number: int) -> Manifest:
        seen.append(number)
        if len(seen) == reads:
            s3.take_over(place)
        return read_manifest(place, number)

    monkeypatch.setattr("kmem.kstore.prune.read_manifest", late)
    with pytest.raises(BankExistsError, match=LOST):
        compact(bucket, held_too=True)
    gone = before.keys() - place.sizes().keys()
    assert gone == (set() if reads == 1 else {"manifests/000001.json", "manifests/000002.json"})
    with open_bank(bucket) as bank:
        assert bank.manifest.number == number
