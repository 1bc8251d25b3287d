"""A source cut into pieces of any size gives the same documents, and what can't be read never stops what can."""

import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kmem.document import Document
from kmem.errors import ConfigError, SourceError
from kmem.kbuild.pieces import Piece, Rejected, pieces, read_piece, require_readable
from kmem.kbuild.readers import ReadConfig
from kmem.kbuild.sources import documents
from tests.kbuild.conftest import WriteDictionary

SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
PACKINGS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


def read(source: Path | str, config: ReadConfig | None = None, *, piece_bytes: int) -> tuple[list[Document], list[Rejected], Counter[str]]:
    config = config or ReadConfig()
    counts: Counter[str] = Counter()
    rejected: list[Rejected] = []
    found: list[Document] = []
    for piece in pieces([str(source)], config, counts, piece_bytes=piece_bytes):
        found += read_piece(piece, config, counts, rejected.append)
    return found, rejected, counts


LINES = st.sampled_from(
    [
        '{"text": "one"}',
        '{"text": "二", "id": "x"}',
        '{"text": "three\\n3", "id": 7}',
        '{"text": " "}',
        '{"id": 1}',
        "no",
        "",
        "  ",
        '{"text": 1}',
    ]
)


@SHARED
@given(st.lists(LINES, max_size=12), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.integers(1, 80))
def test_json_lines_in_pieces_of_any_size(tmp_path: Path, lines: list[str], end: str, ended: bool, piece_bytes: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes((end.join(lines) + end * ended).encode())
    whole, all_rejected, all_counts = read(path, piece_bytes=1 << 20)
    found, rejected, counts = read(path, piece_bytes=piece_bytes)
    assert found == whole
    assert [(one.reason, one.sample) for one in rejected] == [(one.reason, one.sample) for one in all_rejected]
    assert counts == all_counts
    assert sum(counts.values()) == sum(1 for line in lines if line.strip())


@SHARED
@given(st.text(st.sampled_from("ab\n二é "), max_size=120), st.integers(1, 30), st.integers(1, 200))
def test_plain_text_in_parts_that_piece_size_and_packing_do_not_move(tmp_path: Path, text: str, part: int, piece_bytes: int) -> None:
    config = ReadConfig(max_document_bytes=max(8, part))
    plain = tmp_path / "a.txt"
    plain.write_bytes(text.encode())
    whole, rejected, _ = read(plain, config, piece_bytes=1 << 20)
    assert not rejected
    assert read(plain, config, piece_bytes=piece_bytes)[0] == whole
    assert "".join("".join(document.text for document in whole).split()) == "".join(text.split())
    for suffix, pack in PACKINGS.items():
        packed = tmp_path / f"b.txt{suffix}"
        packed.write_bytes(pack(text.encode()))
        assert [document.text for document in read(packed, config, piece_bytes=piece_bytes)[0]] == [document.text for document in whole]


@pytest.mark.parametrize("piece_bytes", [1, 100, 1000, 1 << 20])
def test_parquet_by_row_groups(tmp_path: Path, piece_bytes: int) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"text {row}" for row in range(50)], "n": range(50)}), path, row_group_size=7)
    found, _, counts = read(path, piece_bytes=piece_bytes)
    assert [(document.source, document.text) for document in found] == [(f"{path}#{row}", f"text {row}") for row in range(50)]
    assert counts == {"documents": 50}
    assert len(pieces([str(path)], ReadConfig(), Counter(), piece_bytes=1)) == 8


@pytest.mark.parametrize("piece_bytes", [1, 9, 1000])
def test_dictionary_by_entries(write_dictionary: WriteDictionary, piece_bytes: int) -> None:
    index = write_dictionary([([f"word {number}"], f"Text {number}\n") for number in range(9)])
    found, _, _ = read(index, piece_bytes=piece_bytes)
    assert [document.text for document in found] == [f"Text {number}\n" for number in range(9)]


def test_what_is_wholly_unreadable_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "x"}\n' * 3)
    (tmp_path / "b.txt").write_text("fine")
    sources = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.txt")]
    with pytest.raises(SourceError, match=r"a\.jsonl, line 1 has no field 'text'.*'body'"):
        list(documents(sources, Counter()))
    counts: Counter[str] = Counter()
    assert [document.text for document in documents([str(tmp_path)], counts)] == ["fine"]
    assert counts == {"documents": 1, "rejected: no field 'text'": 3}
    (tmp_path / "b.txt").write_bytes(b"\xff")
    with pytest.raises(SourceError, match=r"a\.jsonl, line 1 has no field"):
        list(documents([str(tmp_path)], Counter()))


def test_nothing_read_and_nothing_rejected_is_no_error_here() -> None:
    require_readable([Piece(source="a.txt", named=True)], set(), {})


def test_unknown_encoding() -> None:
    with pytest.raises(ConfigError, match=r"Unknown encoding 'klingon'.*gb18030"):
        ReadConfig(encoding="klingon")
