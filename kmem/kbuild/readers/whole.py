"""Formats whose file is one document: the whole of it in memory, up to the length allowed."""

from kmem.errors import UnreadableError
from kmem.kbuild.readers.config import ReadConfig
from kmem.kbuild.readers.decode import decode, sample
from kmem.kbuild.readers.files import unpacked_size
from kmem.kbuild.readers.reading import TO_THE_END, Reading

Span = tuple[int, int, int, int]
"""start, end and size in bytes of a piece, and the lines before it."""


def whole(path: str, size: int, config: ReadConfig, piece_bytes: int) -> list[Span]:
    """One piece."""
    return [(0, TO_THE_END, unpacked_size(path, size), 0)]


def read_whole(reading: Reading) -> str:
    """All of the file as text. Raises UnreadableError, also where there is more than `max_document_bytes` of it."""
    limit = reading.config.max_document_bytes
    with reading.open() as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise too_long(reading.name, limit, data)
    return decode(data, reading.name, reading.config.encoding)


def too_long(place: str, limit: int, data: bytes) -> UnreadableError:
    return UnreadableError("too long", f"{place} has over {limit:,} bytes: cut it, or raise max_document_bytes.", sample(data))
