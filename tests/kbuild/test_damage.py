"""Encodings, packed files and damage: what is intact is kept, the rest has a reason and a place."""

import gzip
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from kmem.document import Document
from kmem.errors import SourceError
from kmem.kbuild.readers import ReadConfig
from kmem.kbuild.rejected import Rejected
from kmem.kbuild.sources import documents
from tests.kbuild.conftest import WriteDictionary

Pack = Callable[[bytes], bytes]
PACKINGS: dict[str, Pack] = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}
CHINESE = "哈希表根据键值快速访问数据。"
FILES: dict[str, bytes] = {
    "a.txt": CHINESE.encode(),
    "a.md": b"# Title\n\nText.\n",
    "a.html": b"<title>T</title><p>A paragraph that is the main text of this page.</p>",
    "a.jsonl": b'{"text": "one"}\n{"text": "two", "id": "x"}\n',
}


def read(folder: Path, config: ReadConfig | None = None) -> tuple[list[str], list[Rejected]]:
    rejected: list[Rejected] = []
    found = documents([str(folder)], Counter(), config, rejected.append)
    return [document.text for document in found], rejected


@pytest.mark.parametrize("suffix", PACKINGS)
@pytest.mark.parametrize("name", FILES)
def test_every_format_packed(tmp_path: Path, name: str, suffix: str) -> None:
    plain, packed = tmp_path / name, tmp_path / f"{name}{suffix}"
    plain.write_bytes(FILES[name])
    pack = PACKINGS[suffix]
    packed.write_bytes(pack(FILES[name][:5]) + pack(FILES[name][5:]))  # of two members, as cat makes them
    expected = [
        Document(source=document.source.replace(str(plain), str(packed)), text=document.text, title=document.title)
        for document in documents([str(plain)], Counter())
    ]
    assert list(documents([str(packed)], Counter())) == expected


@pytest.mark.parametrize("suffix", PACKINGS)
def test_packed_dictionary(write_dictionary: WriteDictionary, suffix: str) -> None:
    index = write_dictionary([(["a"], "Text a\n"), (["b"], "Text b\n")])
    for path, data in ((index, index.read_bytes()), (index.with_name("words.dict"), b"Text a\nText b\n")):
        path.with_name(path.name + suffix).write_bytes(PACKINGS[suffix](data))
    index.unlink()
    index.with_name("words.dict.dz").unlink()
    assert read(index.parent) == (["Text a\n", "Text b\n"], [])


def json_lines(rows: int) -> bytes:
    return "".join(json.dumps({"text": f"{number} " + CHINESE * (number % 7), "n": number**9}) + "\n" for number in range(rows)).encode()


@pytest.mark.parametrize("suffix", PACKINGS)
def test_packed_lines_that_are_cut_off_or_damaged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    lines = b"".join(json_lines(5000).splitlines(keepends=True))
    path.write_bytes(PACKINGS[suffix](lines))
    whole, none = read(tmp_path)
    assert len(whole) == 5000
    assert not none
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    texts, [rejected] = read(tmp_path)
    assert texts == whole[: len(texts)]
    assert len(texts) > 1000
    assert rejected.reason == "cut off"
    assert rejected.source == f"{path}, line {len(texts) + 1}"
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(byte ^ 0x5A for byte in data[middle : middle + 200]) + data[middle + 200 :])
    texts, found = read(tmp_path)
    assert texts[:1000] == whole[:1000]
    assert found[-1].reason == "damaged"


def test_parquet_that_is_damaged_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"{number} {CHINESE}" for number in range(4000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=1000, use_dictionary=False, compression="zstd")
    at = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[at + 40 : at + 400] = b"\xff" * 360
    path.write_bytes(data)
    found, [rejected] = read(tmp_path)
    assert found == [*texts[:1000], *texts[2000:]]
    assert rejected.reason == "damaged"
    assert rejected.source == f"{path}, rows 1000 to 1999"


def test_parquet_row_that_is_no_text(tmp_path: Path) -> None:
    good, bad = b"fine", b"caf\xe9"
    column = pa.array([good, bad, good], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    texts, [rejected] = read(tmp_path)
    assert texts == ["fine", "fine"]
    assert (rejected.source, rejected.reason) == (f"{tmp_path}/a.parquet, row 1", "not UTF-8")


def test_columns_by_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["one", "two"], "head": ["T", None], "key": [7, 8], "text": ["no", "no"]}), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text('{"body": "three", "head": "U", "key": "k", "id": "no"}\n{"body": "four"}\n')
    config = ReadConfig(text="body", title="head", id="key")
    counts: Counter[str] = Counter()
    found = [(one.source.rpartition("/")[2], one.text, one.title) for one in documents([str(tmp_path)], counts, config)]
    assert found == [
        ("a.parquet#7", "one", "T"),
        ("a.parquet#8", "two", ""),
        ("b.jsonl#k", "three", "U"),
        ("b.jsonl#2", "four", ""),
    ]
    assert counts == {"documents": 4, "no title: no field 'head'": 1, "called by its line: no field 'key'": 1}
    with pytest.raises(SourceError, match=r"a\.parquet has no column 'headline': .*\(it has body, head, key, text\)"):
        list(documents([str(tmp_path / "a.parquet")], Counter(), ReadConfig(text="body", title="headline")))


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.jsonl.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(tmp_path: Path, name: str, encoding: str) -> None:
    text = CHINESE if name.endswith(".txt") else f'{{"text": "{CHINESE}"}}\n{{"text": "2"}}\n'
    data = text.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert read(tmp_path) == ([CHINESE, "2"] if "jsonl" in name else [CHINESE], [])


@pytest.mark.parametrize("encoding", ["gb18030", "big5", "utf-16-le"])
def test_a_legacy_encoding(tmp_path: Path, encoding: str) -> None:
    text = "數據表 中文"
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    (tmp_path / "b.jsonl").write_bytes('{"text": "數據"}\n'.encode(encoding))
    (tmp_path / "c.txt").write_bytes("marked 中".encode("utf-8-sig"))
    assert read(tmp_path, ReadConfig(encoding=encoding)) == ([text, "數據", "marked 中"], [])
    with pytest.raises(SourceError, match=r"a\.txt is (not UTF-8|binary)"):
        read(tmp_path / "a.txt")


def test_a_record_that_is_too_long(tmp_path: Path) -> None:
    config = ReadConfig(max_document_bytes=100)
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "' + "x" * 5000 + '"}\n{"text": "two"}\n')
    (tmp_path / "b.md").write_text("x" * 101)
    (tmp_path / "c.txt").write_bytes(("x" * 101).encode("utf-16"))
    texts, rejected = read(tmp_path, config)
    assert texts == ["one", "two"]
    assert {one.source.rpartition("/")[2]: one.reason for one in rejected} == dict.fromkeys(
        ["a.jsonl, line 2", "b.md", "c.txt"], "too long"
    )


@pytest.mark.parametrize("name", ["big.jsonl.gz", "big.txt.zst"])
def test_a_packed_file_is_never_whole_in_memory(tmp_path: Path, name: str) -> None:
    """40 MB unpacked, read with a few."""
    lines = [json.dumps({"text": " ".join(f"{number} {word}" for word in range(3000))}) for number in range(1000)]
    data = "\n".join(lines).encode()
    (tmp_path / name).write_bytes(gzip.compress(data, 1) if name.endswith(".gz") else zstandard.ZstdCompressor().compress(data))
    code = f"""
import tracemalloc
from collections import Counter
from kmem.kbuild.readers import ReadConfig
from kmem.kbuild.sources import documents
tracemalloc.start()
total = sum(len(document.text) for document in documents([{str(tmp_path / name)!r}], Counter(), ReadConfig(max_document_bytes=1 << 20)))
print(total, tracemalloc.get_traced_memory()[1])
"""
    total, peak = map(int, subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert total > 24_000_000
    assert peak < 12_000_000
