"""Sources elsewhere: what fsspec reaches, and object stores with the same environment that banks have."""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec
import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.store import from_url

from kmem.document import Document
from kmem.errors import ConfigError, MissingDependencyError, PlaceError, SourceError, SourceNotFoundError
from kmem.kbuild.expand import expand
from kmem.kbuild.pieces import pieces, read_piece
from kmem.kbuild.readers import ReadConfig
from kmem.kbuild.rejected import ignore
from kmem.kbuild.sources import documents
from tests.s3 import served, use_bucket


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A folder in a bucket with one file of each kind, some of them no documents."""
    root = use_bucket(endpoint, monkeypatch)
    store = from_url(root, client_options={"allow_http": True})
    for name, data in files(tmp_path).items():
        obstore.put(store, name, data)
    return root


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[str]:
    """The same in fsspec's memory."""
    system = fsspec.filesystem("memory")
    for name, data in files(tmp_path).items():
        system.pipe_file(f"/some/folder/{name}", data)
    yield "memory://some/folder"
    system.rm("/some", recursive=True)


def files(folder: Path) -> dict[str, bytes]:
    pq.write_table(pa.table({"text": ["row 0", "row 1"]}), folder / "rows.parquet", row_group_size=1)
    lines = "".join(json.dumps({"text": f"line {number}"}) + "\n" for number in range(20))
    return {
        "a.txt": b"text",
        "sub/b.jsonl": lines.encode(),
        "sub/c.jsonl.gz": gzip.compress(b'{"text": "packed", "id": "x"}\n'),
        "rows.parquet": (folder / "rows.parquet").read_bytes(),
        "words.index": b"word\tA\tF\n",
        "words.dict": b"Text\n",
        ".hidden.txt": b"hidden",
        "picture.png": b"picture",
        "lone.index": b"",
        "bank/memories.zarr/zarr.json": b"{}",
        "bank/chunks/x.txt": b"of a bank",
    }


def read(source: str, *, piece_bytes: int) -> list[Document]:
    config, counts = ReadConfig(), Counter[str]()
    found = pieces([source], config, counts, piece_bytes=piece_bytes)
    return [document for piece in found for document in read_piece(piece, config, counts, ignore)]


@pytest.mark.parametrize("place", ["bucket", "memory"])
@pytest.mark.parametrize("piece_bytes", [50, 1 << 20])
def test_folder(place: str, piece_bytes: int, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(place)
    counts: Counter[str] = Counter()
    list(documents([root], counts))
    assert counts == {
        "documents": 25,
        "skipped: hidden file": 1,
        "skipped: part of a bank": 2,
        "skipped: unknown suffix .png": 1,
        "skipped: half a dictionary": 1,
    }
    top = root if place == "bucket" else "memory:///some/folder"
    assert [(document.source.removeprefix(f"{top}/"), document.text) for document in read(root, piece_bytes=piece_bytes)] == [
        ("a.txt", "text"),
        ("rows.parquet#0", "row 0"),
        ("rows.parquet#1", "row 1"),
        *[(f"sub/b.jsonl#{number + 1}", f"line {number}") for number in range(20)],
        ("sub/c.jsonl.gz#x", "packed"),
        ("words.index#word", "Text\n"),
    ]


@pytest.mark.parametrize("place", ["bucket", "memory"])
def test_globs_and_names(place: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(place)
    assert [document.text for document in read(f"{root}/*.txt", piece_bytes=1000)] == ["text"]
    assert [document.text for document in read(f"{root}/**/*.gz", piece_bytes=1000)] == ["packed"]
    assert [file.named for file in expand([f"{root}/a.txt"])] == [True]
    with pytest.raises(SourceNotFoundError, match=r"nowhere\.txt' leads to no file"):
        expand([f"{root}/nowhere.txt"])
    with pytest.raises(SourceNotFoundError, match=r"\*\.csv' leads to no file"):
        expand([f"{root}/*.csv"])
    with pytest.raises(SourceError, match="is a bank, not documents"):
        expand([f"{root}/bank"])
    with pytest.raises(SourceError, match=r"picture\.png has no known suffix"):
        expand([f"{root}/picture.png"])


def test_a_file_url_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("text")
    assert [document.source for document in read(f"file://{tmp_path}/a%20b.txt", piece_bytes=10)] == [f"{tmp_path}/a b.txt"]


def test_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    with pytest.raises(PlaceError, match=r"Could not read s3://no-bucket/x.*check address"):
        expand(["s3://no-bucket/x"])
    found = pieces([f"{bucket}/a.txt"], ReadConfig(), Counter(), piece_bytes=100)
    monkeypatch.setattr("kmem.kbuild.readers.remote._RETRIES", {"max_retries": 0})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(PlaceError, match=r"a\.txt"):  # says nothing about the file, so it is not rejected
        list(read_piece(found[0], ReadConfig(), Counter(), ignore))


def test_schemes_that_need_something(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"s4:// is no kind of URL"):
        expand(["s4://bucket/x.txt"])
    with pytest.raises(MissingDependencyError, match=r"needs a package that is not installed.*paramiko"):
        expand(["sftp://host/x.txt"])
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'kmem\[s3\]'"):
        expand(["s3://another/x.txt"])
