"""Bytes → text for every reader: by byte-order mark, else in the encoding asked for; or the reason why not."""

import codecs
from pathlib import Path

from kmem.errors import UnreadableError
from kmem.kbuild.readers.files import cant_be_opened

SAMPLE = 80
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ANY_MARK = tuple(mark for mark, _ in _MARKS)


def marked(data: bytes) -> str | None:
    """The encoding whose byte-order mark comes first; None where there is no mark."""
    if not data.startswith(_ANY_MARK):
        return None
    return next(encoding for mark, encoding in _MARKS if data.startswith(mark))


def decode(data: bytes, place: str, encoding: str = "utf-8") -> str:
    """`data` as text without byte-order mark, every line end made a newline; `place` names its origin.

    A mark goes before `encoding`. Raises UnreadableError for bytes that are no text in it, and for NUL characters.
    """
    encoding = marked(data) or encoding
    if b"\0" in data and _without_nul(encoding):
        raise UnreadableError(
            "binary", f"{place} is binary, not text (NUL byte at byte {data.index(0)}): remove it or convert it to UTF-8.", sample(data)
        )
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        name = "UTF-8" if encoding in ("utf-8", "utf-8-sig") else encoding
        raise UnreadableError(
            f"not {name}",
            f"{place} is not {name} text (byte {error.start} is 0x{data[error.start]:02x}): convert it to UTF-8, or name its encoding "
            "(--encoding latin-1).",
            sample(data[max(0, error.start - SAMPLE // 2) :]),
        ) from error
    if "\0" in text:
        raise UnreadableError(
            "binary", f"{place} is binary, not {encoding} text (it holds NUL): remove it or convert it to UTF-8.", sample(data)
        )
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _without_nul(encoding: str) -> bool:
    return "a".encode(encoding) == b"a" or encoding == "utf-8-sig"


def sample(data: bytes | str) -> str:
    """The beginning, for a person."""
    text = data[: 4 * SAMPLE].decode("utf-8", "backslashreplace") if isinstance(data, bytes) else data
    return text[:SAMPLE].encode("utf-8", "backslashreplace").decode()


def read_utf8(path: Path) -> str:
    """A whole file of this machine as text. Raises UnreadableError."""
    try:
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        raise cant_be_opened(str(path), error) from error


def one_line(title: str) -> str:
    """A title on one line, its runs of whitespace made single spaces."""
    return " ".join(title.split())
