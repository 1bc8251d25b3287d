"""JSON lines: one object a line, `text` required, `title` and `id` optional."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kmem.document import Document
from kmem.errors import SourceError
from kmem.kbuild.readers.decode import decode, one_line


def read_jsonl(path: Path, counts: Counter[str]) -> Iterator[Document]:
    """One document a line; its source ends in `#` and the record's id, or else the line number counted from 1."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _document(path, number, line)
    except OSError as error:
        raise SourceError(f"{path} can't be read ({error.strerror}): check the path and its permissions.") from error


def _document(path: Path, number: int, line: bytes) -> Document:
    place = f"{path}, line {number}"
    text = decode(line, place)
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{place} is not JSON ({error}): write one JSON object a line.") from error
    if not isinstance(record, dict):
        raise SourceError(f'{place} is not a JSON object: write one object a line, as in {{"text": "…"}}.')
    identifier = record.get("id", number)
    if isinstance(identifier, bool) or not isinstance(identifier, int | str):
        raise SourceError(f"{place}: field 'id' must be a string or an integer, not {json.dumps(identifier)[:40]}: change or remove it.")
    title = _string(record, "title", place) if record.get("title") is not None else ""
    return Document(source=f"{path}#{identifier}", text=_string(record, "text", place), title=one_line(title))


def _string(record: dict[str, Any], field: str, place: str) -> str:
    if field not in record:
        raise SourceError(f"{place} has no field {field!r}: give every record one (it has {', '.join(map(repr, record)) or 'none'}).")
    value = record[field]
    if not isinstance(value, str):
        raise SourceError(
            f"{place}: field {field!r} must be a string, not {json.dumps(value)[:40]}: write it in quotes, or remove the record."
        )
    # JSON can spell half a surrogate pair ("\ud800"), which is no character and can't be written as UTF-8.
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise SourceError(f"{place}: field {field!r} holds half a surrogate pair: replace that escape by the whole character.")
    return value
