"""Plain text: one file, one document, no title. A file longer than a document may be is cut where paragraphs end.

Where it is cut depends on the file and `max_document_bytes` (B) alone: part k begins at the first end of a paragraph at or after byte k·B,
so parts can be read side by side, and a packed file, which can only be read from its beginning, gives the same ones.
"""

import re
from collections.abc import Iterator

from kmem.document import Document
from kmem.kbuild.readers.config import ReadConfig
from kmem.kbuild.readers.decode import decode, marked
from kmem.kbuild.readers.files import packing, raw
from kmem.kbuild.readers.reading import TO_THE_END, Reading
from kmem.kbuild.readers.whole import Span, too_long, whole

_WINDOW_BYTES = 1 << 16
"""How far the end of a paragraph is looked for; then that of a line, then that of a character."""
_PARAGRAPH = re.compile(rb"\n[ \t\r]*\n\s*")
_LINE = re.compile(rb"\n")
_INSIDE = range(0x80, 0xC0)
"""What goes on with a character of UTF-8."""


def split_text(path: str, size: int, config: ReadConfig, piece_bytes: int) -> list[Span]:
    """Pieces of whole parts, where the file is longer than one part and is not packed."""
    part = config.max_document_bytes
    if packing(path) or size <= part:
        return whole(path, size, config, piece_bytes)
    with raw(path) as stream:
        if not _can_be_cut(stream.read(4), config):
            return whole(path, size, config, piece_bytes)
    step = max(1, piece_bytes // part) * part
    return [(start, min(start + step, size), min(step, size - start), 0) for start in range(0, size, step)]


def read_text(reading: Reading) -> Iterator[Document]:
    """The file as one document, or its parts, whose sources end in `#byte-N`, where they begin. A part that is no text is rejected."""
    part, at = reading.config.max_document_bytes, reading.start
    window = min(_WINDOW_BYTES, -(-part // 2))
    with reading.open() as stream:
        if at:
            stream.seek(at)
        data = stream.read(part + window)
        if at == 0 and len(data) <= part:
            yield Document(source=reading.name, text=decode(data, reading.name, reading.config.encoding))
            return
        if at == 0 and not _can_be_cut(data, reading.config):
            raise too_long(reading.name, part, data)
        begin = _cut(data[:window]) if at else 0
        while begin < len(data):
            stop = part + _cut(data[part : part + window])
            place = f"{reading.name}#byte-{at + begin}"
            with reading.rejecting(place):
                yield Document(source=place, text=decode(data[begin:stop], place, reading.config.encoding))
            at, begin = at + part, stop - part
            if len(data) <= part or at >= reading.end != TO_THE_END:
                return
            data = data[part:] + stream.read(part)


def _can_be_cut(data: bytes, config: ReadConfig) -> bool:
    mark = marked(data)
    return config.by_line if mark is None else mark == "utf-8-sig"


def _cut(window: bytes) -> int:
    """Where the first paragraph, or else line, ends in the window; or else where a character begins."""
    found = _PARAGRAPH.search(window) or _LINE.search(window)
    return found.end() if found else next((at for at, byte in enumerate(window[:4]) if byte not in _INSIDE), len(window[:4]))
