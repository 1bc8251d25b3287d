"""Which memories each token reads (Memory³ §3.5): spans of at most `every` tokens, counted over each row's real tokens, `<bos>` included.

Text is cut into chunks of `every` tokens, a prompt from its own start on, generated text from its first token on; the last chunk of
either may be shorter, and a prompt that follows generated text (a second turn) starts a chunk. What a chunk reads depends on the mode:

- `paper`: a prompt chunk reads what its own text retrieves. The first generated chunk inherits the last prompt chunk's memories, each
  later one reads what the chunk before it retrieves, so 128 tokens in and 128 out retrieve 2·128/64 − 1 = 3 times.
- `shifted`: every chunk reads what the chunk before it retrieves, the first one nothing: no token ever sees memories that later text
  chose. The first generated chunk reads what the last prompt chunk, full or not, retrieves: 3 times for 128 + 128, too.
- `once`: everything reads what the first forward pass's text retrieves.

A prompt in several forward passes has the same chunks. In `shifted` it reads the same, too; in `paper` the rest of a chunk that a pass
cut in two retrieves anew, with all of the chunk that has arrived. A row without a prompt reads nothing before its second chunk (`once`:
retrieves with its first token). A generated token that ends a text, or pads one that ended, reads and retrieves nothing, and belongs to
no span: the next other token starts a chunk.

Without a cache each forward pass is a prompt; with one, a forward pass of a single token is a generated token (also the last piece of a
chunked prefill, where one token is left over).
"""

import sys
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from kmem.runtime.defaults import RetrievalMode

Ids = tuple[int, ...]
Query = tuple[Callable[[Ids], None], Sequence[int]]
"""Who is to be told the ids, and the tokens to search with."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Tokens start..stop−1 of a row (padding not counted) read the memories `ids`."""

    row: int
    start: int
    stop: int
    ids: Ids


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """When memories change: the mode, the tokens of a chunk, and the token ids that end or pad a text."""

    mode: RetrievalMode
    every: int
    ends: frozenset[int] = frozenset()


@dataclass(slots=True, kw_only=True)
class OpenSpan:
    """A span still growing. `chunk` is the first token of the chunk that it belongs to, its own start unless a pass cut the chunk."""

    start: int
    stop: int
    chunk: int
    ids: Ids = ()
    generated: bool = False


class RowSpans(ABC):
    """The spans of one row of a batch, disjoint and ascending, growing as tokens arrive; adding a token to one takes constant time.

    `version` grows whenever a span opens or gets its memories, and when a token falls out of all spans: while it stays, what the newest
    token reads stays.
    """

    def __init__(self, row: int) -> None:
        self.row = row
        self.tokens: list[int] = []
        self.version = 0
        self._spans: list[OpenSpan] = []
        self._dropped: Ids = ()

    @abstractmethod
    def read(self, tokens: Sequence[int]) -> None:
        """Take prompt tokens."""

    @abstractmethod
    def generate(self, token: int, *, retrieve: bool = True) -> None:
        """Take one generated token; without `retrieve`, generated text hands its memories down."""

    def take_queries(self) -> list[Query]:
        """Spans that still need memories."""
        return []

    def handed(self) -> Span | None:
        """The span whose memories a generated token would inherit if it came next; None where it would not."""
        return None

    def keep(self, ids: Ids) -> None:
        """Of the span that `handed` gave, hand these memories down alone."""
        span = self.handed()
        self._dropped = () if span is None else tuple(memory_id for memory_id in span.ids if memory_id not in ids)

    @property
    def spans(self) -> list[Span]:
        return self.spans_between(0, len(self.tokens))

    def spans_between(self, start: int, stop: int) -> list[Span]:
        """The spans with a token among start..stop−1, whole."""
        found = []
        for index in range(bisect_right(self._spans, start, key=attrgetter("stop")), len(self._spans)):
            span = self._spans[index]
            if span.start >= stop:
                break
            found.append(Span(row=self.row, start=span.start, stop=span.stop, ids=span.ids))
        return found

    def _covers(self, stop: int) -> bool:
        """Whether the last span reaches up to token `stop` − 1."""
        return bool(self._spans) and self._spans[-1].stop == stop

    def _open(self, span: OpenSpan) -> None:
        self._spans.append(span)
        self.version += 1


class RowSchedule(RowSpans):
    """A row that retrieves."""

    def __init__(self, row: int, cadence: Cadence) -> None:
        super().__init__(row)
        self.cadence = cadence
        self._longest = sys.maxsize if cadence.mode == "once" else cadence.every
        self._waiting: list[Query] = []

    def read(self, tokens: Sequence[int]) -> None:
        cursor, end = len(self.tokens), len(self.tokens) + len(tokens)
        self.tokens.extend(tokens)
        while cursor < end:
            last = self._spans[-1] if self._covers(cursor) else None
            cut = last is not None and not last.generated and cursor - last.chunk < self._longest
            chunk = last.chunk if last is not None and cut else cursor
            stop = min(end, chunk + self._longest)
            if last is not None and cut and self.cadence.mode != "paper":
                last.stop = stop
            else:
                self._begin(OpenSpan(start=cursor, stop=stop, chunk=chunk), retrieve=True)
            cursor = stop

    def generate(self, token: int, *, retrieve: bool = True) -> None:
        cursor = len(self.tokens)
        self.tokens.append(token)
        last = self._spans[-1] if self._covers(cursor) else None
        if token in self.cadence.ends:
            self.version += last is not None
        elif last is not None and last.generated and cursor - last.start < self._longest:
            last.stop = cursor + 1
        else:
            self._begin(OpenSpan(start=cursor, stop=cursor + 1, chunk=cursor, generated=True), retrieve=retrieve)

    def take_queries(self) -> list[Query]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def handed(self) -> Span | None:
        if self.cadence.mode == "shifted" or not self._covers(len(self.tokens)) or self._spans[-1].generated:
            return None
        last = self._spans[-1]
        return Span(row=self.row, start=last.start, stop=last.stop, ids=last.ids)

    def _begin(self, span: OpenSpan, *, retrieve: bool) -> None:
        """Open the span; it inherits, or waits for what its own text or the chunk before it retrieves."""
        before = self._spans[-1] if self._spans else None
        self._open(span)
        asking = span if self._asks_itself(span) else before
        if before is not None and self._inherits(span, before, retrieve):
            span.ids = tuple(memory_id for memory_id in before.ids if memory_id not in self._dropped)
        elif asking is not None:
            self._waiting.append((self._setter(span), self.tokens[asking.chunk : asking.stop]))
        self._dropped = ()

    def _asks_itself(self, span: OpenSpan) -> bool:
        return self.cadence.mode == "once" or (self.cadence.mode == "paper" and not span.generated)

    def _inherits(self, span: OpenSpan, before: OpenSpan, retrieve: bool) -> bool:
        if self.cadence.mode == "once":
            return True
        if before.generated:
            return span.generated and not retrieve
        return span.generated and self.cadence.mode == "paper"

    def _setter(self, span: OpenSpan) -> Callable[[Ids], None]:
        def set_ids(ids: Ids) -> None:
            span.ids = ids
            self.version += 1

        return set_ids
