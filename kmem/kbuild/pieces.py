"""Sources → pieces that workers can read side by side, and pieces → documents: the same ones whatever the size of the pieces."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kmem.document import Document
from kmem.errors import PlaceError, SourceError, UnreadableError
from kmem.kbuild.corpora import CORPORA, corpora_folder, fetch_corpus
from kmem.kbuild.expand import CORPUS, expand
from kmem.kbuild.readers import ReadConfig, Reading, format_of
from kmem.kbuild.readers.files import cant_be_opened, is_url
from kmem.kbuild.readers.reading import TO_THE_END
from kmem.kbuild.readers.remote import unreachable
from kmem.kbuild.rejected import Reject, Rejected

__all__ = ["EMPTY", "PIECE_BYTES", "Piece", "Rejected", "pieces", "read_piece", "require_readable"]

PIECE_BYTES = 32 << 20
DOCUMENTS = "documents"
EMPTY = "dropped: empty"


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of a source: all that a worker needs to read it. `start` and `end` (exclusive; -1: the end) are in its reader's unit.

    source: path, URL or `corpus:NAME`. size_bytes: about how much it holds, unpacked. before: lines before `start`; -1: not counted.
    named: whether the user named this very file, rather than a folder or glob that holds it.
    """

    source: str
    start: int = 0
    end: int = TO_THE_END
    size_bytes: int = 0
    before: int = 0
    named: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def pieces(sources: Sequence[str], config: ReadConfig, counts: Counter[str], *, piece_bytes: int = PIECE_BYTES) -> list[Piece]:
    """The sources in the user's order, each file's parts one after another; small files are a piece each.

    JSON lines and plain text are cut by bytes, Parquet at row groups, dictionaries by entries; packed files and the rest are one piece.
    `counts` collects what folders and globs hold beside readable files. Raises as `expand`.
    """
    found: list[Piece] = []
    for file in expand(sources, counts):
        try:
            spans = format_of(file.path).split(file.path, file.size, config, piece_bytes)
        except UnreadableError:
            spans = [(0, TO_THE_END, 0, 0)]  # whoever reads it says why
        source = _corpus_of(file.path) or file.path
        found += [
            Piece(source=source, start=start, end=end, size_bytes=size, before=before, named=file.named)
            for start, end, size, before in spans
        ]
    return found


def _corpus_of(path: str) -> str | None:
    """The portable name of a corpus file: another worker caches it elsewhere."""
    return next((f"{CORPUS}{name}" for name, corpus in CORPORA.items() if Path(path) == corpora_folder() / corpus.file), None)


def read_piece(piece: Piece, config: ReadConfig, counts: Counter[str], reject: Reject) -> Iterator[Document]:
    """The documents of a piece that hold any text.

    `counts` receives `documents`, `dropped: empty` and `rejected: {reason}`, one for every record; what can't be read goes
    to `reject`. Raises PlaceError where a URL can't be reached, which says nothing about the bytes.
    """
    is_corpus = piece.source.startswith(CORPUS)
    path = str(fetch_corpus(piece.source.removeprefix(CORPUS))) if is_corpus else piece.source
    name = portable(path)
    reading = Reading(
        path=path, name=name, start=piece.start, end=piece.end, before=piece.before, config=config, counts=counts, reject=reject
    )
    try:
        for document in format_of(path).read(reading):
            if document.text.strip():
                counts[DOCUMENTS] += 1
                yield document
            else:
                counts[EMPTY] += 1
    except UnreadableError as error:
        reading.set_aside(name, error)
    except PlaceError:
        raise
    except OSError as error:
        if is_url(path):
            raise unreachable(path, error) from error
        reading.set_aside(name, cant_be_opened(path, error))


def portable(path: str) -> str:
    """What documents call their file: a corpus by its name, not by where this machine caches it, since ids must be the same everywhere."""
    if is_url(path) or Path(path).parent != corpora_folder():
        return path
    return f"{CORPUS}{Path(path).stem}"


def require_readable(pieces: Iterable[Piece], read: Container[str], rejected: Mapping[str, Rejected]) -> None:
    """Raise SourceError for a file that the user named and of which nothing could be read, or when nothing at all could be.

    `read` has the sources that gave any document; `rejected` the first thing that was set aside of each source.
    """
    several = list(pieces)
    lost = {piece.source: piece.named for piece in several if piece.source not in read and piece.source in rejected}
    whole = next((source for source, named in lost.items() if named), None)
    if whole is None and lost and not any(piece.source in read for piece in several):
        whole = next(iter(lost))
    if whole is not None:
        raise SourceError(rejected[whole].message)
