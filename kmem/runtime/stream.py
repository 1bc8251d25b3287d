"""One batch of sequences being read and generated, from an empty KV cache on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kmem.runtime.plan import Columns, Plan, ids_in, plan_of
from kmem.runtime.pool import Pool
from kmem.runtime.replay import ReplayedRow
from kmem.runtime.schedule import Cadence, Ids, Query, RowSchedule, RowSpans, Span
from kmem.runtime.trace import MassLedger


class Stream:
    """`columns` counts everything in the KV cache, padding included; each row's schedule counts its real tokens alone."""

    def __init__(self, *, batch: int, cadence: Cadence, given: Sequence[Span] | None, columns: int) -> None:
        self.columns = columns
        self._ledger = MassLedger()
        self._rows: list[RowSpans] = [RowSchedule(row, cadence) if given is None else ReplayedRow(row, given) for row in range(batch)]
        self._now: list[Columns] = []
        self._beams = False
        self._plan: Plan | None = None
        self._planned: tuple[int, ...] = ()

    @property
    def batch(self) -> int:
        return len(self._rows)

    @property
    def spans(self) -> list[Span]:
        return [span for row in self._rows for span in row.spans]

    @property
    def generating(self) -> bool:
        """Whether this forward pass has one column, so that the next will read the same unless a span begins."""
        return len(self._now[0].real) == 1

    def advance(self, tokens: Tensor, real: Tensor) -> None:
        """Take the columns of one forward pass, tokens and real [B, q]; several at once are prompt, a single one was generated."""
        length = tokens.shape[1]
        generated = length == 1 and self.columns > 0
        self._now = []
        for row, ids, is_real in zip(self._rows, tokens.tolist(), real.tolist(), strict=True):
            self._now.append(Columns(start=len(row.tokens), real=tuple(is_real)))
            if not generated:
                row.read([token for token, keep in zip(ids, is_real, strict=True) if keep])
            elif is_real[0]:
                row.generate(ids[0], retrieve=not self._beams)
        self.columns += length

    def handed(self, row: int) -> Span | None:
        """What the next token of a row would inherit if it were generated."""
        return self._rows[row].handed()

    def keep(self, row: int, ids: Ids) -> None:
        """It is to inherit these alone."""
        self._rows[row].keep(ids)

    def note_beams(self) -> None:
        """Rows were reordered: what a row generated is no longer known, so memories come from the prompt alone from now on."""
        self._beams = True

    def take_queries(self) -> list[Query]:
        """Spans of any row that still need memories."""
        return [query for row in self._rows for query in row.take_queries()]

    def still(self, pool: Pool) -> bool:
        """Whether this forward pass reads what the last one's plan says; ask once the queries are answered."""
        return self.generating and self._planned == self._state(pool)

    def reads(self) -> Ids:
        """What any column of this forward pass reads; ask once the queries are answered."""
        return ids_in([span for spans in self._current() for span in spans])

    def replan(self, pool: Pool) -> None:
        """Make the plan of this forward pass; `pool` holds what it reads."""
        self._book()
        self._plan = plan_of(self._current(), self._now, pool)
        self._planned = self._state(pool) if self.generating else ()

    @property
    def plan(self) -> Plan | None:
        return self._plan

    def ledger(self) -> MassLedger:
        """The attention mass of every forward pass so far."""
        self._book()
        return self._ledger

    def _current(self) -> list[list[Span]]:
        return [row.spans_between(now.start, now.stop) for row, now in zip(self._rows, self._now, strict=True)]

    def _state(self, pool: Pool) -> tuple[int, ...]:
        """Changes whenever a plan for one column a row would; padding in a generated column makes a plan of its own."""
        return (pool.version, *(row.version for row in self._rows), *(now.real[0] for now in self._now))

    def _book(self) -> None:
        if self._plan is not None:
            for span, mass in zip(self._plan.spans, self._plan.take_mass().tolist(), strict=True):
                self._ledger.add(span, mass)
            self._plan.mass = torch.zeros_like(self._plan.mass)
