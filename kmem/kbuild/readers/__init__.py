"""One reader a format: `reader(path, counts) -> Iterator[Document]`, found by the end of the file's name.

A reader raises SourceError, naming the file and the line or row, on anything that is not what the suffix promises.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from kmem.document import Document
from kmem.errors import SourceError
from kmem.kbuild.readers.dictd import read_dictd
from kmem.kbuild.readers.html import read_html
from kmem.kbuild.readers.jsonl import read_jsonl
from kmem.kbuild.readers.markdown import read_markdown
from kmem.kbuild.readers.parquet import read_parquet
from kmem.kbuild.readers.text import read_text

Reader = Callable[[Path, Counter[str]], Iterator[Document]]

READERS: dict[str, Reader] = {
    ".txt": read_text,
    ".md": read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
    ".index": read_dictd,
    ".dict": read_dictd,
    ".dict.dz": read_dictd,
}


def known_suffix(path: Path) -> str | None:
    """The registered suffix that the file's name ends with, in any case; None when there is none."""
    return next((suffix for suffix in READERS if path.name.lower().endswith(suffix)), None)


def reader_for(path: Path) -> Reader:
    """The reader registered for the file's suffix, or SourceError naming the known ones."""
    suffix = known_suffix(path)
    if suffix is None:
        raise SourceError(f"{path} has no known suffix, so kmem can't tell its format: convert it to one of {', '.join(READERS)}.")
    return READERS[suffix]


def read(path: Path, counts: Counter[str]) -> Iterator[Document]:
    """The documents of one file, in file order; `counts` collects what its reader left out, by reason."""
    return reader_for(path)(path, counts)
