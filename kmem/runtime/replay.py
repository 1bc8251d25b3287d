"""Schedules that are given beforehand: an earlier `memory.schedule`, or one made by hand."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from kmem.errors import ConfigError, WrongTypeError
from kmem.runtime.schedule import OpenSpan, RowSpans, Span


def require_schedule(schedule: Sequence[Span]) -> tuple[Span, ...]:
    """The spans by row and start, empty ones left out.

    Raises WrongTypeError for what is no span, ConfigError for bounds that no tokens have and for spans of one row that overlap.
    """
    for span in schedule:
        if not isinstance(span, Span):
            raise WrongTypeError(f"A schedule is a list of Span (memory.schedule gives one), not of {type(span).__name__}.")
        if span.row < 0 or span.start < 0 or span.stop < span.start:
            raise ConfigError(
                f"The span of tokens {span.start} to {span.stop} in row {span.row} can't be: rows and tokens count from 0, stop ≥ start."
            )
    ordered = sorted((span for span in schedule if span.start < span.stop), key=lambda span: (span.row, span.start))
    for one, other in pairwise(ordered):
        if one.row == other.row and other.start < one.stop:
            raise ConfigError(
                f"Tokens {other.start} to {min(one.stop, other.stop)} of row {one.row} are in two spans of the schedule; "
                f"give each token one span, with the ids of all that it reads."
            )
    return tuple(replace(span, ids=tuple(span.ids)) for span in ordered)


class ReplayedRow(RowSpans):
    """A row whose spans are given, as `require_schedule` gives them: tokens past the last span, or between spans, read nothing."""

    def __init__(self, row: int, given: Sequence[Span]) -> None:
        super().__init__(row)
        self._given = [span for span in given if span.row == row]

    def read(self, tokens: Sequence[int]) -> None:
        was_covered = self._covers(len(self.tokens))
        self.tokens.extend(tokens)
        seen = len(self.tokens)
        if self._spans:
            self._spans[-1].stop = min(self._given[len(self._spans) - 1].stop, seen)
        while len(self._spans) < len(self._given) and self._given[len(self._spans)].start < seen:
            span = self._given[len(self._spans)]
            self._open(OpenSpan(start=span.start, stop=min(span.stop, seen), chunk=span.start, ids=span.ids))
        self.version += was_covered and not self._covers(seen)

    def generate(self, token: int, *, retrieve: bool = True) -> None:
        self.read((token,))
