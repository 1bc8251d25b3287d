"""Dictionaries in dictd's format: an `.index` of headwords beside a `.dict`, or `.dict.dz` (dictzip, which gzip reads), or either packed.

A line of the index is `headword ⇥ offset ⇥ length`, both numbers in dictd's base 64, counted in bytes of the dictionary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from errno import ENOENT
from itertools import pairwise
from pathlib import Path

from kmem.document import Document
from kmem.errors import UnreadableError
from kmem.kbuild.readers.config import ReadConfig
from kmem.kbuild.readers.decode import decode, one_line, sample
from kmem.kbuild.readers.files import cant_be_opened, is_file, opened, size_of, unpacked_size
from kmem.kbuild.readers.reading import TO_THE_END, Reading
from kmem.kbuild.readers.whole import Span
from kmem.kbuild.rejected import refuse

_INDEX = (".index", ".index.gz", ".index.zst")
_BODY = (".dict.dz", ".dict", ".dict.gz", ".dict.zst")
SUFFIXES = (*_INDEX, *_BODY)
_BLOCK_BYTES = 512
"""What is lost before the place where a packed dictionary is damaged."""
_DIGITS = {digit: value for value, digit in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}
_HEADER = ("00database", "00-database")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One text of a dictionary with the headwords that lead to it, in the order of the index."""

    headwords: tuple[str, ...]
    text: str


def dictionary_files(path: str | Path) -> tuple[str, str] | None:
    """The index and the dictionary that `path`, naming either, belongs to; None when one of the two is missing."""
    named = str(path)
    suffix = next((suffix for suffix in SUFFIXES if named.lower().endswith(suffix)), "")
    stem = named[: len(named) - len(suffix)]
    indexes, bodies = ([stem + end for end in ends] for ends in (_INDEX, _BODY))
    return next(((index, body) for index in indexes for body in bodies if is_file(index) and is_file(body)), None)


def split_dictd(path: str, size: int, config: ReadConfig, piece_bytes: int) -> list[Span]:
    """Pieces of as many entries, each of about `piece_bytes`."""
    try:
        index, body = _files(path)
        size = unpacked_size(body, size_of(body))
        pieces = -(-size // piece_bytes)
        if pieces <= 1:
            return [(0, TO_THE_END, size, 0)]
        number = len(_index(Reading(path=path, name=path, config=config), index))
    except UnreadableError:
        return [(0, TO_THE_END, 0, 0)]
    starts = [number * piece // pieces for piece in range(pieces + 1)]
    return [(start, end, size // pieces, 0) for start, end in pairwise(starts) if start < end]


def read_dictd(reading: Reading) -> Iterator[Document]:
    """One document an entry, in the order of the dictionary; its source is the index, `#` and the first headword.

    The title is the entry's own first line where that is one of its headwords (it has capitals, the index has none), and the
    text then starts below it; otherwise the first headword.
    """
    for entry in _entries(reading, *_files(reading.path)):
        if len(entry.headwords) > 1:
            reading.counts["skipped: headword of an entry already read"] += len(entry.headwords) - 1
        source, (first, _, rest) = f"{reading.name}#{entry.headwords[0]}", entry.text.partition("\n")
        if first.strip().casefold() in {headword.casefold() for headword in entry.headwords}:
            yield Document(source=source, text=rest, title=one_line(first))
        else:
            yield Document(source=source, text=entry.text, title=one_line(entry.headwords[0]))


def entries(index: str) -> Iterator[Entry]:
    """Every entry of an intact dictionary once, ordered by its place there; its own header entries are left out. Raises SourceError."""
    return _entries(Reading(path=index, name=index, reject=refuse), *_files(index))


def _files(path: str) -> tuple[str, str]:
    files = dictionary_files(path)
    if files is None:
        if not is_file(path):
            raise cant_be_opened(path, FileNotFoundError(ENOENT, "No such file or directory"))
        said = f"{path} is half a dictionary: put its .index and its .dict or .dict.dz side by side under one name."
        raise UnreadableError("half a dictionary", said)
    return files


def _entries(reading: Reading, index: str, body: str) -> Iterator[Entry]:
    data = _body(reading, body)
    found = sorted(_index(reading, index).items())
    for (offset, length), words in found[reading.start : None if reading.end == TO_THE_END else reading.end]:
        place = f"{reading.name}, entry {words[0]!r},"
        with reading.rejecting(place.rstrip(",")):
            if offset + length > len(data):
                raise UnreadableError("cut off", f"{place} lies past the end of {body}: install the two files together again.")
            yield Entry(headwords=tuple(words), text=decode(data[offset : offset + length], place, reading.config.encoding))


def _index(reading: Reading, index: str) -> dict[tuple[int, int], list[str]]:
    """Headwords by where their text is. Lines that are no such thing are rejected by the first piece."""
    headwords: dict[tuple[int, int], list[str]] = {}
    with opened(index) as stream:
        text = decode(stream.read(), index, reading.config.encoding)
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.startswith(_HEADER):
            try:
                headword, offset, length = _line(line, f"{index}, line {number}")
            except UnreadableError as error:
                if reading.start == 0:
                    reading.set_aside(f"{reading.name}, line {number}", error)
            else:
                headwords.setdefault((offset, length), []).append(headword)
    return headwords


def _body(reading: Reading, body: str) -> bytes:
    """The dictionary, up to where it is damaged; that is rejected by the first piece, and entries behind it by theirs."""
    found = bytearray()
    with opened(body) as stream:
        try:
            while data := stream.read(_BLOCK_BYTES):
                found += data
        except UnreadableError as error:
            if reading.start == 0:
                reading.set_aside(body, error)
    return bytes(found)


def _line(line: str, place: str) -> tuple[str, int, int]:
    headword, *numbers = line.split("\t")
    try:
        offset, length = (_number(digits) for digits in numbers[:2])
    except (KeyError, ValueError) as error:
        raise UnreadableError(
            "not an index line",
            f"{place} is not `headword, base-64 offset, base-64 length` parted by tabs: rebuild the index.",
            sample(line),
        ) from error
    return headword, offset, length


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 64 + _DIGITS[digit]
    return value
