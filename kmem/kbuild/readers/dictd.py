"""Dictionaries in dictd's format: an `.index` of headwords beside a `.dict`, or `.dict.dz` (dictzip, which gzip reads).

A line of the index is `headword ⇥ offset ⇥ length`, both numbers in dictd's base 64, counted in bytes of the dictionary.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kmem.document import Document
from kmem.errors import SourceError
from kmem.kbuild.readers.decode import decode, one_line, read_bytes, read_utf8

SUFFIXES = (".dict.dz", ".dict", ".index")
_DIGITS = {digit: value for value, digit in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}
_HEADER = ("00database", "00-database")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One text of a dictionary with the headwords that lead to it, in the order of the index."""

    headwords: tuple[str, ...]
    text: str


def dictionary_files(path: Path) -> tuple[Path, Path] | None:
    """The index and the dictionary that `path`, naming either, belongs to; None when one of the two is missing."""
    suffix = next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")
    stem = path.name[: len(path.name) - len(suffix)]
    index = path.with_name(f"{stem}.index")
    bodies = (path.with_name(f"{stem}.dict.dz"), path.with_name(f"{stem}.dict"))
    return next(((index, body) for body in bodies if index.is_file() and body.is_file()), None)


def read_dictd(path: Path, counts: Counter[str]) -> Iterator[Document]:
    """One document an entry, in the order of the dictionary; its source is the index, `#` and the first headword.

    The title is the entry's own first line where that is one of its headwords (it has capitals, the index has none), and the
    text then starts below it; otherwise the first headword.
    """
    files = dictionary_files(path)
    if files is None:
        raise SourceError(f"{path} is half a dictionary: put its .index and its .dict or .dict.dz side by side under one name.")
    for entry in entries(*files):
        if len(entry.headwords) > 1:
            counts["skipped: headword of an entry already read"] += len(entry.headwords) - 1
        source, (first, _, rest) = f"{files[0]}#{entry.headwords[0]}", entry.text.partition("\n")
        if first.strip().casefold() in {headword.casefold() for headword in entry.headwords}:
            yield Document(source=source, text=rest, title=one_line(first))
        else:
            yield Document(source=source, text=entry.text, title=one_line(entry.headwords[0]))


def entries(index: Path, body: Path) -> Iterator[Entry]:
    """Every entry of a dictionary once, ordered by its place there; the database's own header entries are left out."""
    data = _unpacked(body)
    headwords: dict[tuple[int, int], list[str]] = {}
    for number, line in enumerate(read_utf8(index).split("\n"), 1):
        if not line or line.startswith(_HEADER):
            continue
        headword, offset, length = _line(line, f"{index}, line {number}")
        if offset + length > len(data):
            raise SourceError(f"{index}, line {number} points past the end of {body}: install the two files together again.")
        headwords.setdefault((offset, length), []).append(headword)
    for (offset, length), words in sorted(headwords.items()):
        yield Entry(headwords=tuple(words), text=decode(data[offset : offset + length], f"{body}, entry {words[0]!r},"))


def _unpacked(body: Path) -> bytes:
    data = read_bytes(body)
    if not body.name.lower().endswith(".dz"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{body} is not an intact dictzip file ({error}): fetch it again.") from error


def _line(line: str, place: str) -> tuple[str, int, int]:
    headword, *numbers = line.split("\t")
    try:
        offset, length = (_number(digits) for digits in numbers[:2])
    except (KeyError, ValueError) as error:
        raise SourceError(f"{place} is not `headword, base-64 offset, base-64 length` parted by tabs: rebuild the index.") from error
    return headword, offset, length


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 64 + _DIGITS[digit]
    return value
