"""Bytes → text for every reader: UTF-8 or a SourceError that says where it stops being UTF-8."""

from pathlib import Path

from kmem.errors import SourceError


def read_bytes(path: Path) -> bytes:
    """The whole file, or SourceError when it can't be opened."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} can't be read ({error.strerror}): check the path and its permissions.") from error


def decode(data: bytes, place: str) -> str:
    """`data` as UTF-8 without byte-order mark, every line end made a newline; `place` names its origin in the error."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError(f"{place} looks like UTF-16: convert it to UTF-8 (iconv -f utf-16 -t utf-8).")
    if b"\0" in data:
        raise SourceError(f"{place} is binary, not text (NUL byte at byte {data.index(0)}): remove it or convert it to UTF-8.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{place} is not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x}): convert it to UTF-8.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_utf8(path: Path) -> str:
    """The whole file as text."""
    return decode(read_bytes(path), str(path))


def one_line(title: str) -> str:
    """A title on one line, its runs of whitespace made single spaces."""
    return " ".join(title.split())
