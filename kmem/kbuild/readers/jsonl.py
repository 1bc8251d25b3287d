"""JSON lines: one object a line with a field of text, and perhaps a title and an id. Cut by bytes, read from line to line."""

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from kmem.document import Document
from kmem.errors import UnreadableError
from kmem.kbuild.readers.config import ReadConfig
from kmem.kbuild.readers.decode import decode, marked, one_line, sample
from kmem.kbuild.readers.files import packing, raw
from kmem.kbuild.readers.lines import UNKNOWN, Line, lines, lines_before
from kmem.kbuild.readers.reading import Reading
from kmem.kbuild.readers.whole import Span, whole

Record = dict[str, Any]
HALF = "half a surrogate pair"


def split_jsonl(path: str, size: int, config: ReadConfig, piece_bytes: int) -> list[Span]:
    """Pieces of `piece_bytes`, where the file is longer, is not packed, and ends its lines with the byte 0x0a.

    A record without id is called by its line. Where the first has none, the lines are counted, which reads the file once more; where it has
    one, that is left to the pieces in which a record has none.
    """
    if packing(path) or size <= piece_bytes:
        return whole(path, size, config, piece_bytes)
    with raw(path) as stream:
        first = stream.readline(config.max_document_bytes)
        if not config.by_line or marked(first) not in (None, "utf-8-sig"):
            return whole(path, size, config, piece_bytes)
        stream.seek(0)
        starts = range(0, size, piece_bytes)
        before = [0, *[UNKNOWN] * (len(starts) - 1)] if _has_id(first, config) else lines_before(stream, starts)
    return [
        (start, min(start + piece_bytes, size), min(piece_bytes, size - start), count) for start, count in zip(starts, before, strict=True)
    ]


def _has_id(first: bytes, config: ReadConfig) -> bool:
    try:
        return (config.id or "id") in _parsed(first, "", config)
    except UnreadableError:
        return False


def read_jsonl(reading: Reading) -> Iterator[Document]:
    """One document a line; its source ends in `#` and the record's id, or else the line number counted from 1."""
    records = _Records(reading)
    for line in lines(reading):
        if line.data.strip():
            try:
                document = records.document(line)
            except UnreadableError as error:
                reading.set_aside(line.place(reading), error)
            else:
                yield document


class _Records:
    """Lines → documents, by the fields that the configuration names."""

    def __init__(self, reading: Reading) -> None:
        self._reading, self._config = reading, reading.config
        self._title, self._id = self._config.title or "title", self._config.id or "id"

    def document(self, line: Line) -> Document:
        """Raises UnreadableError."""
        place = line.place(self._reading)
        record = _parsed(line.data, place, self._config)
        title, identifier = record.get(self._title), record.get(self._id)
        if self._title not in record and self._config.title is not None:
            self._reading.counts[f"no title: no field {self._title!r}"] += 1
        if self._id not in record and self._config.id is not None:
            self._reading.counts[f"called by its line: no field {self._id!r}"] += 1
        if isinstance(identifier, bool) or not isinstance(identifier, int | str | None):
            raise _wrong(place, self._id, "a string or an integer", identifier, "change or remove it")
        text = _string(record, self._config.text, place)
        title = "" if title is None else one_line(_string(record, self._title, place))
        source = f"{self._reading.name}#{self._number(line) if identifier is None else identifier}"
        if not _has_characters(source):
            raise UnreadableError(HALF, f"The source {source!r} is not UTF-8: change the id of {place}.", sample(source))
        return Document(source=source, text=text, title=title)

    def _number(self, line: Line) -> int:
        return (self._counted if self._reading.before == UNKNOWN else self._reading.before) + line.line

    @cached_property
    def _counted(self) -> int:
        with raw(self._reading.path) as stream:
            return lines_before(stream, [self._reading.start])[0]


def _parsed(line: bytes | str, place: str, config: ReadConfig) -> Record:
    text = decode(line, place, config.encoding) if isinstance(line, bytes) else line.removeprefix("\ufeff")
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError("not JSON", f"{place} is not JSON ({error}): write one JSON object a line.", sample(text)) from error
    if not isinstance(record, dict):
        said = f'{place} is not a JSON object: write one object a line, as in {{"{config.text}": "…"}}.'
        raise UnreadableError("not a JSON object", said, sample(text))
    return record


def _string(record: Record, field: str, place: str) -> str:
    if field not in record:
        fields = ", ".join(map(repr, record)) or "none"
        said = f"{place} has no field {field!r}: give every record one, or name the field that holds it by --text-field (it has {fields})."
        raise UnreadableError(f"no field {field!r}", said, sample(json.dumps(record)))
    value = record[field]
    if not isinstance(value, str):
        raise _wrong(place, field, "a string", value, "write it in quotes, or remove the record")
    # JSON can spell half a surrogate pair ("\ud800"), which is no character and can't be written as UTF-8.
    if not _has_characters(value):
        said = f"{place}: field {field!r} holds half a surrogate pair: replace that escape by the whole character."
        raise UnreadableError(HALF, said, sample(value))
    return value


def _wrong(place: str, field: str, wanted: str, value: Any, help: str) -> UnreadableError:
    shown = json.dumps(value)
    return UnreadableError(
        f"field {field!r} is not {wanted}", f"{place}: field {field!r} must be {wanted}, not {shown[:40]}: {help}.", sample(shown)
    )


def _has_characters(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
