"""Plain text: one file, one document, no title."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from kmem.document import Document
from kmem.kbuild.readers.decode import read_utf8


def read_text(path: Path, counts: Counter[str]) -> Iterator[Document]:
    """The file as one document."""
    yield Document(source=str(path), text=read_utf8(path))
