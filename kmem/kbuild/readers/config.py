"""How sources are read: which columns, which encoding, how much of a page, how long a document may be."""

import codecs
from dataclasses import dataclass

from kmem.arguments import require_name
from kmem.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """`text`, `title` and `id` name fields of JSON lines and columns of Parquet.

    Where `title` is None, `title` is taken if it is there; where `id` is None, JSON lines take `id` if it is there, else the line, and
    Parquet takes the row. `encoding` is that of files without byte-order mark. With `main_text` only the main text of an HTML page is kept.
    `max_document_bytes` bounds what is in memory: longer plain text is cut into several documents, other documents are rejected.
    Raises ConfigError for an empty name, and an encoding that Python doesn't know.
    """

    text: str = "text"
    title: str | None = None
    id: str | None = None
    encoding: str = "utf-8"
    main_text: bool = True
    max_document_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        for name, value in (("text", self.text), ("title", self.title), ("id", self.id)):
            if value is not None:
                require_name(value, f"read.{name}")
        try:
            codecs.lookup(self.encoding)
            "\n".encode(self.encoding)
        except (LookupError, TypeError, UnicodeError) as error:
            raise ConfigError(f"Unknown encoding {self.encoding!r}: give one that Python knows, as gb18030, big5 or cp1252.") from error
        if self.max_document_bytes < 1:
            raise ConfigError(f"max_document_bytes is {self.max_document_bytes}: give at least 1.")

    @property
    def by_line(self) -> bool:
        """Whether a line ends where the byte 0x0a is, so that files in this encoding can be cut without decoding them."""
        return "\n".encode(self.encoding) == b"\n"
