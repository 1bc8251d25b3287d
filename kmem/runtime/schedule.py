"""Which memories each token reads (Memory³ §3.5): spans of at most `every` tokens, counted over each row's real tokens.

A prompt is cut into spans that retrieve with their own text. Generated tokens inherit the last prompt span's memories; after every
`every` generated tokens the last `every` are the query and the old memories are dropped. Without a cache each forward pass is a prompt;
with one, a forward pass of a single token is a generated token (also the last piece of a chunked prefill, where one token is left over).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Ids = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Span:
    """Tokens start..stop−1 of a row (padding not counted) read the memories `ids`."""

    row: int
    start: int
    stop: int
    ids: Ids


@dataclass(kw_only=True)
class _Open:
    """A span still growing."""

    start: int
    stop: int
    ids: Ids = ()
    generated: bool


class RowSchedule:
    """The spans of one row of a batch, growing as tokens arrive."""

    def __init__(self, row: int, every: int | None) -> None:
        self.row, self.every = row, every
        self.tokens: list[int] = []
        self._spans: list[_Open] = []
        self._waiting: list[tuple[_Open, Sequence[int]]] = []

    @property
    def spans(self) -> list[Span]:
        return [Span(row=self.row, start=span.start, stop=span.stop, ids=span.ids) for span in self._spans]

    def read(self, tokens: Sequence[int]) -> None:
        """Take prompt tokens."""
        cursor, end = len(self.tokens), len(self.tokens) + len(tokens)
        self.tokens.extend(tokens)
        while cursor < end:
            span = self._open_span(cursor, generated=False)
            span.stop = end if self.every is None else min(end, span.start + self.every)
            if span.start == cursor and not self._inherits(span):
                self._waiting.append((span, self.tokens[span.start : span.stop]))
            cursor = span.stop

    def generate(self, token: int, *, retrieve: bool = True) -> None:
        """Take one generated token; without `retrieve`, spans hand their memories down."""
        cursor = len(self.tokens)
        span = self._open_span(cursor, generated=True)
        if span.start == cursor:
            before = self._spans[-2] if len(self._spans) > 1 else None
            if before is not None and (not before.generated or not retrieve):
                span.ids = before.ids
            elif not self._inherits(span):
                query = self.tokens[-self.every :] if self.every else self.tokens
                self._waiting.append((span, query or [token]))
        self.tokens.append(token)
        span.stop = cursor + 1

    def take_queries(self) -> list[tuple[Callable[[Ids], None], Sequence[int]]]:
        """Spans that still need memories: a setter and the query tokens of each."""
        waiting, self._waiting = self._waiting, []
        return [(_setter(span), query) for span, query in waiting]

    def _inherits(self, span: _Open) -> bool:
        """Retrieve-once schedules hand the first span's memories down for ever."""
        if self.every is not None or len(self._spans) == 1:
            return False
        span.ids = self._spans[0].ids
        return True

    def _open_span(self, cursor: int, *, generated: bool) -> _Open:
        last = self._spans[-1] if self._spans else None
        full = last is None or last.generated != generated or (self.every is not None and last.stop - last.start >= self.every)
        if last is None or full:
            last = _Open(start=cursor, stop=cursor, generated=generated)
            self._spans.append(last)
        return last


def _setter(span: _Open) -> Callable[[Ids], None]:
    def set_ids(ids: Ids) -> None:
        span.ids = ids

    return set_ids


class ReplayedRow(RowSchedule):
    """A row whose spans are given beforehand: tokens past the last span, or between spans, read nothing."""

    def __init__(self, row: int, given: Sequence[Span]) -> None:
        super().__init__(row, every=None)
        self._given = sorted((span for span in given if span.row == row), key=lambda span: span.start)

    @property
    def spans(self) -> list[Span]:
        seen = len(self.tokens)
        return [Span(row=span.row, start=span.start, stop=min(span.stop, seen), ids=span.ids) for span in self._given if span.start < seen]

    def read(self, tokens: Sequence[int]) -> None:
        self.tokens.extend(tokens)

    def generate(self, token: int, *, retrieve: bool = True) -> None:
        self.tokens.append(token)
