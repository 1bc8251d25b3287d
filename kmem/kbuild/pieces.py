"""Sources cut into pieces that workers read side by side, always the same ones in the same order."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kmem.document import Document
from kmem.kbuild.readers import read
from kmem.kbuild.readers.config import ReadConfig
from kmem.kbuild.sources import _portable, _require_utf8, expand


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Records `start` to `end` of a source, in its reader's unit; end −1 is the source's own. size_bytes: what it is thought to hold."""

    source: str
    start: int = 0
    end: int = -1
    size_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """A record that could not be read. source: file and place in it. reason: a short name, counted. sample: how it begins."""

    source: str
    reason: str
    sample: str = ""
    message: str = ""


def pieces(sources: Sequence[str], config: ReadConfig, counts: Counter[str], *, piece_bytes: int) -> list[Piece]:
    """The pieces of all sources, in order; raises as `expand` does."""
    return [Piece(source=str(path), start=0, end=-1, size_bytes=path.stat().st_size) for path in expand(sources, counts)]


def read_piece(piece: Piece, config: ReadConfig, counts: Counter[str], reject: Callable[[Rejected], None]) -> Iterator[Document]:
    """The documents of a piece, in order."""
    path = Path(piece.source)
    for document in read(path, counts):
        _require_utf8(document.source)
        if document.text.strip():
            counts["documents"] += 1
            yield _portable(document, path)
        else:
            counts["dropped: empty"] += 1


def require_readable(pieces: Iterable[Piece], read: Container[str], rejected: Mapping[str, Rejected]) -> None:
    """Nothing is set aside yet."""
