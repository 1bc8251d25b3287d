"""One reader and one way to cut a format, found by the end of the file's name; `.gz` and `.zst` behind it are unpacked on the way.

A reader raises UnreadableError for a file that is wholly not what its suffix promises, and hands single records to `Reading.set_aside`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kmem.document import Document
from kmem.errors import SourceError
from kmem.kbuild.readers.config import ReadConfig
from kmem.kbuild.readers.dictd import read_dictd, split_dictd
from kmem.kbuild.readers.files import unpacked_name
from kmem.kbuild.readers.html import read_html
from kmem.kbuild.readers.jsonl import read_jsonl, split_jsonl
from kmem.kbuild.readers.markdown import read_markdown
from kmem.kbuild.readers.parquet import read_parquet, split_parquet
from kmem.kbuild.readers.reading import Reading
from kmem.kbuild.readers.text import read_text, split_text
from kmem.kbuild.readers.whole import Span, whole

__all__ = ["FORMATS", "Format", "ReadConfig", "Reading", "format_of", "known_suffix"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """`read(reading)` gives the documents of a part of a file, in file order; `split(path, size, config, piece_bytes)` the parts."""

    read: Callable[[Reading], Iterator[Document]]
    split: Callable[[str, int, ReadConfig, int], list[Span]]


_HTML = Format(read=read_html, split=whole)
_DICTD = Format(read=read_dictd, split=split_dictd)
FORMATS: dict[str, Format] = {
    ".txt": Format(read=read_text, split=split_text),
    ".md": Format(read=read_markdown, split=whole),
    ".html": _HTML,
    ".htm": _HTML,
    ".jsonl": Format(read=read_jsonl, split=split_jsonl),
    ".parquet": Format(read=read_parquet, split=split_parquet),
    ".index": _DICTD,
    ".dict": _DICTD,
    ".dict.dz": _DICTD,
}


def known_suffix(path: str | Path) -> str | None:
    """The registered suffix that the file's name ends with, in any case and before `.gz` or `.zst`; None when there is none."""
    name = unpacked_name(str(path))
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), None)


def format_of(path: str | Path) -> Format:
    """The format of the file by its suffix, or SourceError naming the known ones."""
    suffix = known_suffix(path)
    if suffix is None:
        known = ", ".join(FORMATS)
        raise SourceError(f"{path} has no known suffix, so kmem can't tell its format: convert it to one of {known}, plain, .gz or .zst.")
    return FORMATS[suffix]
