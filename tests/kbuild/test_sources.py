"""Files, folders, globs and corpora become the same documents in the same order, and every skip has a counted reason."""

import os
from collections import Counter
from pathlib import Path

import pytest

from kmem.errors import SourceError, SourceNotFoundError, UnknownNameError
from kmem.kbuild.expand import File
from kmem.kbuild.sources import documents, expand
from tests.kbuild.conftest import WriteDictionary


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.md", "sub/c.txt", "sub/deep/d.html", "e.xyz", "Makefile", ".hidden.txt", ".git/x.txt", "faiss.index"):
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")
    return tmp_path / "corpus"


def names(files: list[File]) -> list[str]:
    return [Path(file.path).name for file in files]


def test_folder_is_recursive_sorted_and_counted(folder: Path) -> None:
    counts: Counter[str] = Counter()
    assert names(expand([str(folder)], counts)) == ["a.md", "b.txt", "c.txt", "d.html"]
    assert counts == {
        "skipped: unknown suffix .xyz": 1,
        "skipped: unknown suffix (none)": 1,
        "skipped: half a dictionary": 1,
        "skipped: hidden file": 1,
        "skipped: hidden folder": 1,
    }


def test_glob(folder: Path) -> None:
    assert names(expand([f"{folder}/**/*.txt"])) == ["b.txt", "c.txt"]
    assert names(expand([f"{folder}/*"])) == ["a.md", "b.txt"]


def test_banks_and_links_that_lead_nowhere_are_no_documents(folder: Path) -> None:
    (folder / "bank" / "memories.zarr").mkdir(parents=True)
    (folder / "bank" / "chunks").mkdir()
    (folder / "bank" / "chunks" / "g0000.txt").write_text("of a bank")
    (folder / "linked").symlink_to(folder / "sub")
    (folder / "lost.txt").symlink_to(folder / "nowhere.txt")
    counts: Counter[str] = Counter()
    assert names(expand([str(folder)], counts)) == ["a.md", "b.txt", "c.txt", "d.html"]
    assert counts["skipped: a bank"] == counts["skipped: link that leads nowhere"] == counts["skipped: linked folder"] == 1
    counts.clear()
    assert names(expand([f"{folder}/**/*.txt"], counts)) == ["b.txt", "c.txt"]
    assert counts["skipped: part of a bank"] == 1
    with pytest.raises(SourceError, match="is a bank or in one"):
        expand([str(folder / "bank")])
    with pytest.raises(SourceError, match="is a bank or in one"):
        expand([str(folder / "bank" / "chunks")])
    with pytest.raises(SourceNotFoundError, match="matches no file"):
        expand([f"{folder}/*.csv"])


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "sub" / "pipe.txt")
    counts: Counter[str] = Counter()
    assert names(expand([str(folder)], counts)) == ["a.md", "b.txt", "c.txt", "d.html"]
    assert counts["skipped: pipe, socket or device"] == 1
    assert names(expand([f"{folder}/**/*.txt"])) == ["b.txt", "c.txt"]
    with pytest.raises(
        SourceError, match=r"pipe\.txt' is a pipe, a socket or a device, not a file: write what comes out of it to a file\.$"
    ):
        expand([str(folder / "sub" / "pipe.txt")])


def test_a_name_that_looks_like_a_glob(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("x")
    assert names(expand([f"{tmp_path}/a[1].txt"])) == ["a[1].txt"]


def test_order_of_the_user_and_no_file_twice(folder: Path) -> None:
    counts: Counter[str] = Counter()
    (folder / "link.txt").symlink_to(folder / "b.txt")
    assert names(expand([f"{folder}/sub/c.txt", str(folder)], counts)) == ["c.txt", "a.md", "b.txt", "d.html"]
    assert counts["skipped: listed twice"] == 2


def test_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert names(expand(["~/b.txt"])) == ["b.txt"]


@pytest.mark.parametrize("named", ["words.index", "words.dict.dz", "", "words.*"])
def test_dictionary_is_one_source(write_dictionary: WriteDictionary, named: str) -> None:
    index = write_dictionary([(["a"], "Text a\n"), (["b"], "Text b\n")])
    counts: Counter[str] = Counter()
    assert [document.source for document in documents([str(index.parent / named)], counts)] == [f"{index}#a", f"{index}#b"]
    assert counts == {"documents": 2}


def test_documents_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": " \\n"}\n{"text": "two"}\n')
    (tmp_path / "b.txt").write_text("")
    counts: Counter[str] = Counter()
    assert [document.text for document in documents([str(tmp_path)], counts)] == ["one", "two"]
    assert counts == {"documents": 2, "dropped: empty": 2}


@pytest.mark.parametrize("source", ["nowhere", "nowhere/*.txt", "*.nothing", "", "empty"])
def test_a_source_that_yields_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceNotFoundError, match=f"'{source}'".replace("*", r"\*") if source else "empty string"):
        documents([source], Counter())


def test_no_sources() -> None:
    with pytest.raises(SourceNotFoundError, match="No source was given"):
        expand([])


def test_a_named_file_of_unknown_format(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"e\.xyz has no known suffix.*\.parquet"):
        documents([str(folder / "e.xyz")], Counter())


def test_a_named_half_of_a_dictionary(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"faiss\.index is half a dictionary"):
        list(documents([str(folder / "faiss.index")], Counter()))


def test_unknown_corpus() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown corpus 'wikipedia'; there are chinese-law, foldoc, sotu, vital-articles\."):
        expand(["corpus:wikipedia"])


def test_a_name_that_is_not_utf8_is_refused_or_skipped_before_anything_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("text")
    with pytest.raises(SourceError, match=r"caf\\udce9\.txt' is not UTF-8: rename it"):
        documents([os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")], Counter())
    (folder / "b.txt").write_text("text")
    for source in (str(folder), str(folder / "*.txt")):
        counts: Counter[str] = Counter()
        assert names(expand([source], counts)) == ["b.txt"]
        assert counts == {"skipped: name that is not UTF-8": 1}


def test_an_id_that_is_half_a_surrogate_pair_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "t", "id": "\\ud800"}\n')
    with pytest.raises(SourceError, match=r"a\.jsonl#\\ud800"):
        list(documents([str(tmp_path / "a.jsonl")], Counter()))
