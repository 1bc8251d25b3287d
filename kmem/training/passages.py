"""Titled texts to calibrate and to measure with, parted by hash: what calibration has seen is never measured."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from kmem.errors import SourceNotFoundError
from kmem.identity import content_id
from kmem.kbuild.foldoc import articles
from kmem.kbuild.sources import documents

FOLDOC = "corpus:foldoc"
MIN_CHARACTERS = 150
HELD_OUT = 4
"""One passage in so many is held out."""


@dataclass(frozen=True)
class Passage:
    """The beginning of a document, on one line; the title may be empty."""

    title: str
    body: str

    @property
    def reference(self) -> str:
        return f"{self.title}: {self.body}" if self.title else self.body

    @cached_property
    def id(self) -> int:
        return content_id(self.title, self.body)

    @property
    def held_out(self) -> bool:
        """Whether calibration leaves it to the benchmarks: a matter of its content alone."""
        return self.id % HELD_OUT == 0


def passages(corpus: str, *, held_out: bool) -> list[Passage]:
    """All passages over 150 characters of a source (file, folder, glob, corpus:NAME), either held out or not, in an order of their own.

    The order goes by content as well, so that taking the first n draws a sample. FOLDOC's markup is cleaned as DESIGN §3 measures it.
    Raises SourceNotFoundError when nothing is left, and what reading the source raises.
    """
    if corpus == FOLDOC:
        found = [Passage(title, body) for title, body in articles()]
    else:
        found = [Passage(document.title, " ".join(document.text.split())) for document in documents([corpus], Counter())]
    chosen = [passage for passage in found if len(passage.body) > MIN_CHARACTERS and passage.held_out == held_out]
    if not chosen:
        raise SourceNotFoundError(f"Source {corpus!r} holds no document over {MIN_CHARACTERS} characters to measure with; name another.")
    return sorted(chosen, key=lambda passage: content_id(passage.id))
