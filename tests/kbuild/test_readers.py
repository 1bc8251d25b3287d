"""Each format: what it yields, and the sentence it raises on what it can't read."""

import re
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kmem.document import Document
from kmem.errors import SourceError
from kmem.kbuild.readers import ReadConfig
from kmem.kbuild.rejected import Rejected
from kmem.kbuild.sources import documents as of_sources
from tests.kbuild.conftest import WriteDictionary


def documents(path: Path, config: ReadConfig | None = None) -> list[Document]:
    return list(of_sources([str(path)], Counter(), config))


def read(path: Path, config: ReadConfig | None = None) -> tuple[list[str], list[Rejected]]:
    """Texts, and what was set aside, all of it counted."""
    counts: Counter[str] = Counter()
    found: list[Rejected] = []
    texts = [document.text for document in of_sources([str(path)], counts, config, found.append)]
    assert {reason: count for reason, count in counts.items() if reason.startswith("rejected")} == Counter(
        f"rejected: {rejected.reason}" for rejected in found
    )
    assert all(len(rejected.sample) <= 80 for rejected in found)
    return texts, found


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.TXT", "\ufeffone\r\ntwo\rthree\n")
    assert documents(path) == [Document(source=str(path), text="one\ntwo\nthree\n")]


@pytest.mark.parametrize(
    ("text", "title", "body"),
    [
        ("# Hash *table* ##\n\nText.\n", "Hash *table*", "# Hash *table* ##\n\nText.\n"),
        ("Hash table\n==========\n\nText.\n", "Hash table", "Hash table\n==========\n\nText.\n"),
        ("---\ntitle: 'Front'\ntags: [a]\n---\nNo heading.\n", "Front", "No heading.\n"),
        ("---\ntitle: Front\n---\n## Second  level\nText", "Second level", "## Second  level\nText"),
        ("```sh\n# a comment\n```\n\n# Real\n", "Real", "```sh\n# a comment\n```\n\n# Real\n"),
        ("A rule\n\n---\n\nmore\n", "", "A rule\n\n---\n\nmore\n"),
        ("---\nnever closed\n", "", "---\nnever closed\n"),
        ("#hashtag, not a heading\n", "", "#hashtag, not a heading\n"),
    ],
)
def test_markdown(tmp_path: Path, text: str, title: str, body: str) -> None:
    path = write(tmp_path / "a.md", text)
    assert documents(path) == [Document(source=str(path), text=body, title=title)]


def test_html_keeps_the_main_text(tmp_path: Path) -> None:
    page = """<!DOCTYPE html><html><head><title>Hash
        table</title><style>p { color: red }</style><script>var x = "<p>no</p>";</script></head>
        <body><nav><ul><li>Home</li></ul></nav><h1>Hash &amp; table</h1>
        <p>One   <b>bold</b> word,<br>a line.</p><pre>if x:\n    y()</pre>
        <table><tr><td>a</td><td>b</td></tr></table><footer>Imprint</footer></body></html>"""
    [document] = documents(write(tmp_path / "a.html", page))
    assert document.title == "Hash table"
    assert document.text == "Hash & table\n\nOne bold word,\na line.\n\nif x:\n    y()\na\t\tb"


def test_html_prefers_main(tmp_path: Path) -> None:
    [document] = documents(write(tmp_path / "a.htm", "<body><div>Cookies!</div><main><p>Text</p></main><p>More links"))
    assert document.text == "Text"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>before</p><form><p>text</p><p>more", "before\n\ntext\n\nmore"),
        ("<nav>links</nav><main><ul><li>one<li>two</ul><pre>a\n  b</pre></main>more", "• one\n  • two\na\n  b"),
        ('<div>menu</div><div role="main"><h1>Head</h1>text</div>', "Head\n\ntext"),
        ("<main></main><p>text", "text"),
        ("<p>text</p><svg><title>Icon</title></svg><script>never closed", "text"),
    ],
)
def test_html_of_many_kinds(tmp_path: Path, page: str, text: str) -> None:
    [document] = documents(write(tmp_path / "a.html", page))
    assert (document.text, document.title) == (text, "")


def test_html_whole_when_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.html", "<div>Cookies!</div><main><p>Text</p></main>")
    assert [document.text for document in documents(path, ReadConfig(main_text=False))] == ["Cookies!\n\nText"]


def test_html_that_the_rules_take_for_another_kind_is_kept_whole(tmp_path: Path) -> None:
    items = "".join(f"<li><a href='#{number}'>entry {number}</a></li>" for number in range(30))
    [document] = documents(write(tmp_path / "a.html", f"<body><h1>Index</h1><ul>{items}</ul></body>"))
    assert "entry 29" in document.text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.lists(st.sampled_from([*"<>/!-[]&#;x \n", "main", "p", "script", "title", "pre", "CDATA"])).map("".join))
def test_html_survives_any_markup(tmp_path: Path, markup: str) -> None:
    path = write(tmp_path / "a.html", markup)
    with suppress(SourceError):
        for document in documents(path):
            assert document.text == document.text.strip() != ""


def test_jsonl(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", '{"text": "one", "title": "T\\n1"}\n\n{"text": "two\\u0000", "id": "x", "title": null, "other": 3}\n'
    )
    assert documents(path) == [
        Document(source=f"{path}#1", text="one", title="T 1"),
        Document(source=f"{path}#x", text="two\0"),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"text": "a"', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("9" * 5000, "is not JSON"),
        ('["text"]', "is not a JSON object"),
        ('{"body": "a"}', "no field 'text'.*'body'"),
        ("{}", "no field 'text'"),
        ('{"text": null}', "'text' must be a string, not null"),
        ('{"text": "a", "title": 7}', "'title' must be a string, not 7"),
        ('{"text": "a", "id": [1]}', "'id' must be a string or an integer"),
        ('{"text": "\\ud83d"}', "'text' holds half a surrogate pair"),
    ],
)
def test_jsonl_names_the_line_and_the_field(tmp_path: Path, line: str, says: str) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "fine"}\n' + line + "\n")
    texts, [rejected] = read(path)
    assert texts == ["fine"]
    assert rejected.source == f"{path}, line 2"
    assert re.search(rf"a\.jsonl, line 2\b.*{says}", rejected.message)


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"text {row}" for row in range(3000)]
    pq.write_table(pa.table({"title": ["T", None, *["U"] * 2998], "text": [None, *texts[1:]], "n": range(3000)}), path)
    read_back = documents(path)
    assert [document.text for document in read_back] == texts[1:]
    assert read_back[0] == Document(source=f"{path}#1", text="text 1")
    assert read_back[2998] == Document(source=f"{path}#2999", text="text 2999", title="U")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pa.table({"body": ["a"]}), r"no column 'text'.*\(it has body\)"),
        (pa.table({"text": [1, 2]}), "'text' must hold strings, not int64"),
    ],
)
def test_parquet_with_the_wrong_columns(tmp_path: Path, table: pa.Table, says: str) -> None:
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=says):
        documents(tmp_path / "a.parquet")


def test_parquet_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a"] * 100}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match=r"a\.parquet can't be read as Parquet"):
        documents(path)


def test_dictd(write_dictionary: WriteDictionary) -> None:
    index = write_dictionary(
        [
            (["00-database-info"], "Licence\n"),
            (["00databaseshort"], "Short\n"),
            (["hashing", "hash table"], "Hash table\nhashing\n\n   <data> A table — fast.\n"),
            (["other"], "Text whose first line is no headword.\n"),
        ]
    )
    counts: Counter[str] = Counter()
    expected = [
        Document(source=f"{index}#hash table", title="Hash table", text="hashing\n\n   <data> A table — fast.\n"),
        Document(source=f"{index}#other", title="other", text="Text whose first line is no headword.\n"),
    ]
    assert list(of_sources([str(index)], counts)) == expected
    assert documents(index.with_name("words.dict.dz")) == expected
    assert counts == {"documents": 2, "skipped: headword of an entry already read": 1}


def test_dictd_unpacked(write_dictionary: WriteDictionary) -> None:
    index = write_dictionary([(["a"], "Text\n")])
    index.with_name("words.dict.dz").unlink()
    write(index.with_name("words.dict"), "Text\n")
    assert [document.text for document in documents(index.with_name("words.dict"))] == ["Text\n"]


def test_dictd_half(write_dictionary: WriteDictionary) -> None:
    index = write_dictionary([(["a"], "Text\n")])
    index.with_name("words.dict.dz").unlink()
    with pytest.raises(SourceError, match="half a dictionary"):
        documents(index)


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"no gzip", lambda data: data[:12] + b"\xff" * 9 + data[21:]])
def test_dictd_corrupt(write_dictionary: WriteDictionary, damage: "type[bytes]") -> None:
    index = write_dictionary([(["a"], "Text of some length, so that there is something to damage.\n")])
    body = index.with_name("words.dict.dz")
    body.write_bytes(damage(body.read_bytes()))
    with pytest.raises(SourceError, match=r"words\.dict\.dz (ends too early|is not intact)"):
        documents(index)


@pytest.mark.parametrize(
    ("line", "says"),
    [("no tabs\n", "line 2 is not `headword"), ("b\tä\tB\n", "line 2 is not"), ("b\tA\t//\n", "entry 'b', lies past the end")],
)
def test_dictd_bad_index(write_dictionary: WriteDictionary, line: str, says: str) -> None:
    index = write_dictionary([(["a"], "Text\n")])
    texts, [rejected] = read(write(index, f"a\tA\tF\n{line}"))
    assert texts == ["Text\n"]
    assert re.search(says, rejected.message)


@pytest.mark.parametrize("suffix", [".txt", ".md", ".html", ".jsonl"])
@pytest.mark.parametrize(
    ("data", "says"),
    [(b"ab\0c", "binary.*NUL byte at byte 2"), (b"caf\xe9 x", "not UTF-8 text.*byte 3 is 0xe9"), (b"\x89PNG\r\n\x1a\n", "UTF-8")],
)
def test_binary(tmp_path: Path, suffix: str, data: bytes, says: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=f"a\\{suffix}.*{says}.*: (remove it or )?convert it to UTF-8"):
        documents(path)


def test_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a\.pdf has no known suffix.*\.txt, \.md"):
        documents(write(tmp_path / "a.pdf", "x"))
