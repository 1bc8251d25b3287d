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
    """Sums attention mass per (row, token, memory) until somebody asks."""

    def __init__(self) -> None:
        self._mass: dict[tuple[int, int, int], float] = {}

    def add(self, row: int, token: int, ids: Sequence[int], mass: Sequence[float]) -> None:
        """Add the mass that one token paid to each of its memories."""
        for memory_id, share in zip(ids, mass, strict=False):
            key = (row, token, memory_id)
            self._mass[key] = self._mass.get(key, 0.0) + share

    def of(self, span: Span, memory_id: int) -> float:
        """Mean mass per token of the span."""
        tokens = range(span.start, span.stop)
        return sum(self._mass.get((span.row, token, memory_id), 0.0) for token in tokens) / max(1, len(tokens))


def trace_of(spans: Sequence[Span], ledger: MassLedger, origins: Mapping[int, Origin]) -> list[TraceSpan]:
    """Spans with what they read; `origins` says where the text of each id stands."""
    traced = []
    for span in spans:
        reads = [Read(id=memory_id, attention=ledger.of(span, memory_id), **asdict(origins[memory_id])) for memory_id in span.ids]
        reads.sort(key=lambda read: -read.attention)
        traced.append(TraceSpan(row=span.row, start=span.start, stop=span.stop, reads=tuple(reads)))
    return traced
