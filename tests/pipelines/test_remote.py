"""Builds and appends into S3 (moto's server): the same bytes as on a disk, and a stopped one goes on."""

import hashlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import kmem
from kmem import AppendConfig, BuildConfig, append, build
from kmem.document import Chunk
from kmem.errors import BankExistsError, BankNotFoundError
from kmem.kstore.chunks import CHUNKS
from kmem.kstore.claim import LEASES
from kmem.kstore.commit import manifest_numbers
from kmem.kstore.generation import GenerationWriter
from kmem.kstore.place import Place, Span, place_of
from kmem.kstore.place.remote import RemotePlace
from kmem.kstore.stored import StoredFile, require_sizes
from kmem.kstore.verify import verify
from kmem.kstore.writer import is_committed
from kmem.pipelines.encode import encode_missing
from kmem.pipelines.records import BATCH_ROWS, chunks_at, ids_of, write_records
from kmem.pipelines.status import FINISHED, status
from tests import s3


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3.served() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    return s3.use_bucket(endpoint, monkeypatch)


def config(tiny_folder: Path, embedder: str = "minilm") -> BuildConfig:
    return BuildConfig(model=str(tiny_folder), profile="uniform8", dtype="float32", shard_rows=8, embedder=embedder)


def bank_bytes(bank: str) -> dict[str, bytes]:
    """Every file that is the bank; `build/` is the log of how it came to be."""
    place = place_of(bank)
    return {file: place.read(file) for file in place.sizes() if not file.startswith("build/")}


@contextmanager
def stopped_after(shards: int) -> Iterator[None]:
    """Whatever writes memories is interrupted once it has written so many shards."""
    original = GenerationWriter.write_shard
    written: list[int] = []

    def stopping(writer: GenerationWriter, index: int, *arguments: object) -> object:
        if len(written) == shards:
            raise KeyboardInterrupt
        written.append(index)
        return original(writer, index, *arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GenerationWriter, "write_shard", stopping)
        with pytest.raises(KeyboardInterrupt):
            yield


def test_a_bank_is_built_and_grows_in_s3_as_on_a_disk(bucket: str, tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    local = str(tmp_path / "bank")
    for bank in (local, bucket):
        build(corpus, out=bank, config=config(tiny_folder))
    assert bank_bytes(bucket) == bank_bytes(local)
    with pytest.raises(BankExistsError, match="finished bank"):
        build(corpus, out=bucket, config=config(tiny_folder))
    (corpus / "owl.txt").write_text("Owls hunt mice by night.")
    with kmem.open(bucket) as reader:
        for bank in (local, bucket):
            assert append(bank, corpus).chunks == 1
        assert bank_bytes(bucket) == bank_bytes(local)
        with kmem.open(bucket) as newer:
            assert len(newer) == len(reader) + 1
            hit = newer.search("who hunts mice?", k=1)[0]
            assert hit.text == "Owls hunt mice by night."
            assert newer.read([hit.id]).kv.shape == (1, 2, 64, 8)
            assert verify(bucket, deep=True)["memories_read"] == len(newer)


def test_chunks_are_read_where_they_are_looked_at(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_of(bucket)
    texts = [hashlib.sha512(bytes([number % 256, number // 256])).hexdigest() for number in range(4 * BATCH_ROWS)]
    chunks = [
        Chunk(id=number, document_id=number, source="s", title="", text=text, start=0, end=len(text), tokens=9)
        for number, text in enumerate(texts)
    ]
    size = write_records(place, "build/chunk/00000.parquet", CHUNKS, chunks).size_bytes
    fetched: list[int] = []
    fetch = RemotePlace.fetch

    def counting(remote: RemotePlace, spans: Sequence[Span], *, cold: bool = False) -> None:
        fetched.extend(len(span.out) for span in spans)
        fetch(remote, spans, cold=cold)

    monkeypatch.setattr(RemotePlace, "fetch", counting)
    assert list(chunks_at(place, "build/chunk/00000.parquet", [5, BATCH_ROWS - 1])) == [chunks[5], chunks[BATCH_ROWS - 1]]
    assert 0 < sum(fetched) < size / 2
    fetched.clear()
    assert ids_of(place, "build/chunk/00000.parquet").tolist() == [chunk.id for chunk in chunks]
    assert 0 < sum(fetched) < size / 2
    with pytest.raises(FileNotFoundError):
        ids_of(place, "build/chunk/00001.parquet")


def test_a_second_build_into_s3_at_the_same_time_is_refused(bucket: str, tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    """It says who writes; the first one ends as if nobody had come, and nothing of the lease is left."""
    options, local = config(tiny_folder, embedder="bm25"), str(tmp_path / "bank")
    refused: list[str] = []

    def again(stage: str, done: int, total: int) -> None:
        if stage == "encode" and done and not refused:
            with pytest.raises(
                BankExistsError, match=rf"Another build \(pid {os.getpid()} on .*, begun just now\) is writing to {bucket}; "
            ) as error:
                build(corpus, out=bucket, config=options, resume=True)
            refused.append(str(error.value))
            assert status(place_of(bucket)).writer == f"{socket.gethostname()}, pid {os.getpid()}"

    build(corpus, out=bucket, config=options, progress=again)
    assert refused
    build(corpus, out=local, config=options)
    assert bank_bytes(bucket) == bank_bytes(local)
    assert not place_of(bucket).sizes(LEASES)
    assert status(place_of(bucket)).state == FINISHED


@pytest.mark.parametrize("what", ["build", "append", "encode"])
def test_who_lost_the_lease_commits_nothing_and_stops(
    what: str, bucket: str, tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.quick_beats(monkeypatch)
    place, options, reached = place_of(bucket), config(tiny_folder, embedder="bm25"), list[tuple[str, int]]()
    if what != "build":
        build(corpus, out=bucket, config=replace(options, encode=what != "encode"))
    (tmp_path / "new.txt").write_text("Another sentence altogether. " * 40)

    def lose(stage: str, done: int, total: int) -> None:
        if reached:
            reached.append((stage, done))
        elif stage == "encode" and done:
            reached.append((stage, done))
            s3.take_over(place)

    change: dict[str, Callable[[], object]] = {
        "build": lambda: build(corpus, out=bucket, config=options, progress=lose),
        "append": lambda: append(bucket, tmp_path / "new.txt", config=AppendConfig(shard_bytes=1), progress=lose),
        "encode": lambda: encode_missing(bucket, progress=lose),
    }
    with pytest.raises(BankExistsError, match="This process has lost s3://banks/some/bank to another one"):
        change[what]()
    assert len(reached) == 1
    assert manifest_numbers(place) == ([] if what == "build" else [1])


@pytest.mark.parametrize("what", ["build", "append"])
def test_the_last_thing_before_the_commit_is_to_ask(
    what: str, bucket: str, tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.quick_beats(monkeypatch)
    place, options = place_of(bucket), config(tiny_folder, embedder="bm25")
    if what == "append":
        build(corpus, out=bucket, config=options)
    (tmp_path / "new.txt").write_text("Another sentence altogether.")

    def late(place: Place, files: Sequence[StoredFile]) -> None:
        require_sizes(place, files)
        s3.take_over(place)

    monkeypatch.setattr("kmem.kstore.commit.require_sizes", late)
    with pytest.raises(BankExistsError, match="This process has lost"):
        build(corpus, out=bucket, config=options) if what == "build" else append(bucket, tmp_path / "new.txt")
    assert manifest_numbers(place) == ([] if what == "build" else [1])


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_build_says_what_it_did_only_of_what_is_its_own(
    lost: str, bucket: str, tiny_folder: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost while the index is made, it leaves no statistics; lost after the commit, it has ended well all the same."""
    s3.quick_beats(monkeypatch)
    place, options = place_of(bucket), config(tiny_folder, embedder="bm25")
    module, name = ("kmem.kstore.writer", "make_index") if lost == "before" else ("kmem.kstore.commit", "write_manifest")
    done = getattr(import_module(module), name)

    def late(*arguments: Any, **named: Any) -> Any:
        made = done(*arguments, **named)
        s3.take_over(place)
        return made

    monkeypatch.setattr(f"{module}.{name}", late)
    if lost == "before":
        with pytest.raises(BankExistsError, match="This process has lost"):
            build(corpus, out=bucket, config=options)
        assert "build/stats.json" not in place.sizes("build")
    else:
        assert build(corpus, out=bucket, config=options).chunks
    assert is_committed(place) == (lost == "after")


def test_what_was_stopped_goes_on_in_s3(bucket: str, tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    whole = str(tmp_path / "whole")
    build(corpus, out=whole, config=config(tiny_folder))
    with stopped_after(3):
        build(corpus, out=bucket, config=config(tiny_folder))
    with pytest.raises(BankNotFoundError, match="unfinished"):
        kmem.open(bucket)
    assert build(corpus, out=bucket, config=config(tiny_folder), resume=True).shards_reused == 3
    assert bank_bytes(bucket) == bank_bytes(whole)

    for number in range(3):
        (corpus / f"note{number}.txt").write_text(f"Number {number} is a note.")
    with stopped_after(2):
        append(bucket, corpus, config=AppendConfig(shard_bytes=1))
    report = append(bucket, corpus, config=AppendConfig(shard_bytes=1))
    assert (report.shards, report.shards_reused) == (3, 2)
    append(whole, corpus, config=AppendConfig(shard_bytes=1))
    assert bank_bytes(bucket) == bank_bytes(whole)
