"""Lines of a file, or of a part of it, none longer than a document may be."""

import io
from collections.abc import Iterator, Sequence
from itertools import count
from typing import BinaryIO, NamedTuple

from kmem.errors import UnreadableError
from kmem.kbuild.readers.decode import marked
from kmem.kbuild.readers.reading import TO_THE_END, Reading
from kmem.kbuild.readers.whole import too_long

UNKNOWN = -1
"""Lines before a piece that nobody has counted."""
_BLOCK_BYTES = 1 << 22


class Line(NamedTuple):
    """`line` is counted from 1 in the piece; `at` is where the line begins, in bytes of the file."""

    line: int
    at: int
    data: bytes | str

    def place(self, reading: Reading) -> str:
        """What a person finds it by."""
        if reading.before == UNKNOWN:
            return f"{reading.name}, byte {self.at}"
        return f"{reading.name}, line {reading.before + self.line}"


def lines(reading: Reading) -> Iterator[Line]:
    """The lines that begin in the piece. What is too long is rejected; where the file is damaged, so is the rest of it."""
    encoding = reading.config.encoding
    if reading.config.by_line:
        with reading.open() as stream:
            first = b"" if reading.start else _first(reading, stream)
            mark = marked(first)
            if mark in (None, "utf-8-sig"):
                yield from _of_bytes(reading, stream, first)
                return
            encoding = mark or encoding
    with io.TextIOWrapper(reading.open(), encoding, newline="\n") as characters:
        yield from _of_characters(reading, characters)


def _first(reading: Reading, stream: BinaryIO) -> bytes:
    return stream.readline(reading.config.max_document_bytes + 1)


def _of_bytes(reading: Reading, stream: BinaryIO, data: bytes) -> Iterator[Line]:
    """`data` is the first line, where the piece begins with the file."""
    limit, at = reading.config.max_document_bytes, reading.start
    if at:
        stream.seek(at - 1)
        at += _skip_line(stream) - 1
    for index in count(1):
        if at >= reading.end != TO_THE_END:
            return
        line = Line(index, at, b"")
        try:
            data = data or stream.readline(limit + 1)
            at += len(data)
            if len(data) <= limit or data.endswith(b"\n"):
                if not data:
                    return
                yield line._replace(data=data)
            else:
                reading.set_aside(line.place(reading), too_long(line.place(reading), limit, data))
                at += _skip_line(stream)
            data = b""
        except UnreadableError as error:
            reading.set_aside(line.place(reading), error)
            return


def _of_characters(reading: Reading, stream: io.TextIOWrapper) -> Iterator[Line]:
    """In an encoding whose lines can only be told apart once decoded; such files are never cut."""
    limit = reading.config.max_document_bytes
    for index in count(1):
        line = Line(index, 0, "")
        place = line.place(reading)
        try:
            data = stream.readline(limit + 1)
            if len(data) > limit:
                raise too_long(place, limit, data.encode())
        except UnicodeDecodeError:
            said = f"{place} is not {stream.encoding} text, so nothing behind it is read: convert the file to UTF-8."
            reading.set_aside(place, UnreadableError(f"not {stream.encoding}", said))
            return
        except UnreadableError as error:
            reading.set_aside(place, error)
            return
        if not data:
            return
        yield line._replace(data=data)


def _skip_line(stream: BinaryIO) -> int:
    """Go on to the next line; the bytes passed over."""
    skipped = 0
    while data := stream.readline(_BLOCK_BYTES):
        skipped += len(data)
        if data.endswith(b"\n"):
            break
    return skipped


def lines_before(stream: BinaryIO, starts: Sequence[int]) -> list[int]:
    """How many lines begin before the first one that begins at or after each of the ascending `starts`."""
    found, at, ends = [], 0, 0
    for start in starts:
        while at < start - 1:
            data = stream.read(min(_BLOCK_BYTES, start - 1 - at))
            ends += data.count(b"\n")
            at += len(data)
        found.append(ends + 1 if start else 0)
    return found
