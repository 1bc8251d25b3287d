"""A bank in S3, over real HTTP (moto's server): written, read, changed and verified as on a disk, at a request a memory."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import pytest
import torch

from kmem.errors import BankExistsError, BankNotFoundError, ConfigError, CorruptBankError, MemoryNotEncodedError, PlaceError
from kmem.kstore.bank import open_bank
from kmem.kstore.commit import write_manifest
from kmem.kstore.fill import store_memories
from kmem.kstore.life import compact, delete, merge
from kmem.kstore.place import place_of
from kmem.kstore.place.remote import RemotePlace
from kmem.kstore.verify import verify
from tests import s3
from tests.kstore.kit import NgramEmbedder, tiny_chunks, tiny_memories, tiny_spec, write_bank, write_cold_bank


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3.served() as endpoint:
        yield endpoint


@contextmanager
def asked() -> Iterator[list[str]]:
    """What the server is asked, a line each."""
    lines: list[str] = []
    log, handler = logging.getLogger("werkzeug"), logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    level, log.level = log.level, logging.INFO
    log.addHandler(handler)
    try:
        yield lines
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    return s3.use_bucket(endpoint, monkeypatch)


def test_written_and_read_as_on_a_disk(bucket: str, tmp_path: Path) -> None:
    manifest = write_bank(tmp_path / "bank")
    assert write_bank(bucket) == manifest
    with open_bank(bucket, NgramEmbedder()) as remote, open_bank(tmp_path / "bank", NgramEmbedder()) as local:
        ids = local.ids.tolist()
        ours, theirs = remote.read(ids), local.read(ids)
        assert torch.equal(ours.kv, theirs.kv)
        assert torch.equal(ours.slot_position, theirs.slot_position)
        assert remote.search("hash table", k=3) == local.search("hash table", k=3)
        assert remote.sizes() == local.sizes()
    assert verify(bucket, deep=True)["memories_read"] == 5


def test_five_memories_cost_at_most_five_requests(bucket: str) -> None:
    write_bank(bucket, count=40, rows_per_shard=5)
    with open_bank(bucket) as bank:
        ids = bank.ids.tolist()
        with asked() as requests:
            bank.read([ids[0], ids[11], ids[22], ids[33], ids[39]], positions=False)
        assert len(requests) == 5, requests
        with asked() as requests:
            bank.read(ids[5:10], positions=False)  # neighbours in one shard
        assert len(requests) == 1, requests


def test_slot_positions_are_asked_for_once_a_shard(bucket: str) -> None:
    write_bank(bucket, count=8, rows_per_shard=4)
    with open_bank(bucket) as bank, asked() as requests:
        for memory_id in bank.ids.tolist():
            bank.slot_position([memory_id])
        assert len(requests) == 2, requests


def test_changes(bucket: str) -> None:
    write_bank(bucket)
    write_bank("s3://banks/other", count=8)
    with open_bank(bucket) as bank:
        ids = bank.ids.tolist()
        delete(bucket, ids[:1])
        done = compact(bucket)
        assert (done.deleted_files, done.held_states) == (0, 2)  # nobody can tell who reads
        assert len(bank.read(ids)) == 5
    assert compact(bucket, held_too=True).deleted_files > 5
    merge([bucket, "s3://banks/other"], "s3://banks/both")
    with open_bank("s3://banks/both") as both:
        assert len(both) == 8
    verify("s3://banks/both", deep=True)


def test_a_memory_written_on_demand_costs_a_request_to_read(bucket: str) -> None:
    write_cold_bank(bucket, count=8)
    with open_bank(bucket) as bank:
        ids = bank.ids.tolist()
        with pytest.raises(MemoryNotEncodedError):
            bank.read(ids[:5])
        store_memories(bank, tiny_memories(tiny_spec(), tiny_chunks(8)).take(range(5)))
        with asked() as requests:
            found = bank.read(ids[:5], positions=False)
        assert len(requests) == 5, requests
        assert found.ids == tuple(ids[:5])
        assert bank.encoded(ids).tolist() == [True] * 5 + [False] * 3
    assert compact(bucket, held_too=True).deleted_files > 5
    assert verify(bucket, deep=True)["memories_read"] == 5


def test_slot_positions_written_on_demand_are_read_side_by_side(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cold_bank(bucket, count=8)
    together = Barrier(5)
    with open_bank(bucket) as bank:
        expected = tiny_memories(tiny_spec(), tiny_chunks(8)).take(range(5))
        store_memories(bank, expected)
        read = type(bank.place).read

        def waiting(place: RemotePlace, file: str) -> bytes:
            if "/slot_position/" in file:
                together.wait(timeout=10)  # until all five are asked for
            return read(place, file)

        monkeypatch.setattr(RemotePlace, "read", waiting)
        assert torch.equal(bank.slot_position(expected.ids), expected.slot_position)
        with asked() as requests, pytest.raises(MemoryNotEncodedError):
            bank.slot_position([chunk.id for chunk in tiny_chunks(8)[3:]])
    assert len(requests) == 5 + 3 + 2, requests  # positions, whether there is a record where they are missing, and who is missing


def test_loose_records_are_leapt_over_when_a_bank_is_opened(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store lists so many names a request; 80 of 97 are of loose records here."""
    monkeypatch.setattr("kmem.kstore.place.remote.PAGE", 10)
    write_cold_bank(bucket)
    place = place_of(bucket)
    for row in range(40):
        for name in (f"kv/c.{row}.0.0.0", f"slot_position/c.{row}.0"):
            place.replace(f"memories.zarr/g0000/{name}", b"")
    with asked() as requests, open_bank(bucket) as bank:
        ids = bank.ids.tolist()
    listings = [request for request in requests if "list-type=2" in request and "manifests" not in request]
    assert len(listings) <= 4, listings
    with open_bank(bucket) as bank:
        assert bank.ids.tolist() == ids
        with asked() as requests:
            assert bank.encoded(ids[:1]).tolist() == [True]
        assert len(requests) == 1, requests


def test_lengths_are_those_of_a_disk(bucket: str, tmp_path: Path) -> None:
    write_bank(bucket, count=30, rows_per_shard=2)
    write_bank(tmp_path / "bank", count=30, rows_per_shard=2)
    remote, local = place_of(bucket), place_of(tmp_path / "bank")
    names = list(local.sizes())
    assert len(names) > 60
    for some in (names, names[:3], [], [*names, "chunks/none", "zzz", "kv"], ["none"]):
        assert remote.lengths(some) == local.lengths(some) == {name: local.sizes()[name] for name in some if name in names}


def test_of_two_commits_one_wins(bucket: str) -> None:
    manifest = write_bank(bucket)
    with pytest.raises(BankExistsError, match="another writer committed"):
        write_manifest(place_of(bucket), manifest)
    with pytest.raises(BankExistsError, match="already holds a bank"):
        write_bank(bucket)


def test_damage_is_found(bucket: str) -> None:
    manifest = write_bank(bucket)
    place = place_of(bucket)
    for file in manifest.files:
        data = place.read(file.file)
        place.replace(file.file, data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(CorruptBankError, match=file.file.rsplit("/", 1)[-1]):
            verify(bucket)
        place.replace(file.file, data[: len(data) // 2])
        with pytest.raises(CorruptBankError, match=file.file.rsplit("/", 1)[-1]):
            open_bank(bucket)
        place.remove([file.file])
        with pytest.raises(CorruptBankError, match="is missing"):
            open_bank(bucket)
        place.replace(file.file, data)
    verify(bucket)


def test_what_is_no_place(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BankNotFoundError, match="holds no bank"):
        open_bank("s3://banks/nothing-here")
    with pytest.raises(PlaceError, match=r"Could not list s3://no-such-bucket.*no such bucket"):
        open_bank("s3://no-such-bucket/bank")
    with pytest.raises(ConfigError, match="write it like s3://bucket/bank"):
        open_bank("s3:///bank")
    with pytest.raises(ConfigError, match="magic:// is not s3://"):
        open_bank("magic://bucket/bank")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(PlaceError, match="nothing answers at that address"):
        open_bank(bucket)
