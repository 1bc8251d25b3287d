"""What each span of tokens read, and how much attention it paid."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kmem.runtime.schedule import Ids, Span
from kmem.runtime.source import Origin


@dataclass(frozen=True, kw_only=True)
class Read:
    """One memory read by one span; `attention` is the probability mass on it, averaged over tokens, layers and heads with a budget.

    Its text is characters start..stop−1 of the document `source`; the three are empty where memories came without texts.
    """

    id: int
    attention: float
    source: str
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class TraceSpan:
    """Tokens start..stop−1 of a row (padding not counted) and what they read, most attended first."""

    row: int
    start: int
    stop: int
    reads: tuple[Read, ...]

    @property
    def ids(self) -> Ids:
        return tuple(read.id for read in self.reads)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class MassLedger:
    """Attention mass per span and memory: probabilities summed over tokens, layers and query heads."""

    def __init__(self) -> None:
        self._mass: dict[tuple[int, int, int], float] = {}

    def add(self, span: Span, mass: Sequence[float]) -> None:
        """Add what some tokens of a span paid to each of its memories; numbers past the last memory are padding."""
        for memory_id, share in zip(span.ids, mass, strict=False):
            key = (span.row, span.start, memory_id)
            self._mass[key] = self._mass.get(key, 0.0) + share

    def of(self, span: Span, memory_id: int) -> float:
        """Mass per token of the span."""
        return self._mass.get((span.row, span.start, memory_id), 0.0) / max(1, span.stop - span.start)


def trace_of(spans: Sequence[Span], ledger: MassLedger, origins: Mapping[int, Origin], *, heads: int) -> list[TraceSpan]:
    """Spans with what they read; `origins` says where the text of each id stands, `heads` how many query heads of all layers read slots."""
    traced = []
    for span in spans:
        reads = [
            Read(id=memory_id, attention=ledger.of(span, memory_id) / max(1, heads), **asdict(origins[memory_id])) for memory_id in span.ids
        ]
        reads.sort(key=lambda read: -read.attention)
        traced.append(TraceSpan(row=span.row, start=span.start, stop=span.stop, reads=tuple(reads)))
    return traced
