"""Titled texts to calibrate and to measure with, parted by hash: what calibration has seen is never measured."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from kmem.errors import SourceNotFoundError
from kmem.identity import content_id
from kmem.kbuild.foldoc import FOLDOC, articles
from kmem.kbuild.sources import documents

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
    """All passages over 150 characters of a source (file, folder, glob, corpus:NAME), either held out or not, as `part` orders them.

    FOLDOC's markup is cleaned as DESIGN §3 measures it, but only under the name corpus:foldoc: its index named by path gives the entries
    as they are, other texts with other hashes, and so another split. Calibrate and measure under one name.
    Raises what `part` and reading the source raise.
    """
    if corpus == FOLDOC:
        found = [Passage(title, body) for title, body in articles()]
    else:
        found = [Passage(document.title, " ".join(document.text.split())) for document in documents([corpus], Counter())]
    return part(found, f"Source {corpus!r}", held_out=held_out)


def part(found: Iterable[Passage], name: str, *, held_out: bool) -> list[Passage]:
    """Those over 150 characters, either held out or not, in an order of their own: taking the first n draws a sample.

    Raises SourceNotFoundError, calling where they are from by its name, when nothing is left.
    """
    chosen = [passage for passage in found if len(passage.body) > MIN_CHARACTERS and passage.held_out == held_out]
    if not chosen:
        raise SourceNotFoundError(f"{name} holds no document over {MIN_CHARACTERS} characters to measure with; name another.")
    return sorted(chosen, key=lambda passage: content_id(passage.id))
