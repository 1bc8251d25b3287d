"""What a user names → documents, in this process and always in the same order."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from kmem.document import Document
from kmem.errors import WrongTypeError
from kmem.kbuild.expand import expand
from kmem.kbuild.pieces import Piece, pieces, read_piece, require_readable
from kmem.kbuild.readers import ReadConfig
from kmem.kbuild.rejected import Reject, Rejected, ignore

__all__ = ["documents", "expand", "named"]


def named(sources: str | Path | Sequence[str | Path]) -> list[str]:
    """A source or several as a list of strings. Raises WrongTypeError for what is none."""
    several = [sources] if isinstance(sources, str | Path) else sources
    if not isinstance(several, Sequence) or not all(isinstance(source, str | Path) for source in several):
        raise WrongTypeError(f"sources must be a path or a list of paths, not {sources!r:.40}.")
    return [str(source) for source in several]


def documents(
    sources: Sequence[str], counts: Counter[str], config: ReadConfig | None = None, reject: Reject = ignore
) -> Iterator[Document]:
    """Every non-empty document of the sources, in order.

    The sources are looked up at the call, so a wrong one raises before anything is read; the files are read while iterating. `counts`
    receives what `pieces` and `read_piece` count. What can't be read is set aside; where that is all of a file that was named, or all there
    is, SourceError is raised.
    """
    config = config or ReadConfig()
    return _documents(pieces(sources, config, counts), config, counts, reject)


def _documents(parts: list[Piece], config: ReadConfig, counts: Counter[str], reject: Reject) -> Iterator[Document]:
    read, lost = set[str](), dict[str, Rejected]()
    for source, group in groupby(parts, key=attrgetter("source")):
        of_source = list(group)
        for piece in of_source:
            for document in read_piece(piece, config, counts, _noting(source, lost, reject)):
                read.add(source)
                yield document
        require_readable((piece for piece in of_source if piece.named), read, lost)
    require_readable(parts, read, lost)


def _noting(source: str, lost: dict[str, Rejected], reject: Reject) -> Reject:
    """Keeps the first of each source, too."""

    def note(rejected: Rejected) -> None:
        lost.setdefault(source, rejected)
        reject(rejected)

    return note
