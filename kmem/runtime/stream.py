"""One batch of sequences being read and generated, from an empty KV cache on."""

from collections.abc import Sequence

from torch import Tensor

from kmem.runtime.plan import Block, Columns, ids_in, plan_blocks, spans_in
from kmem.runtime.pool import Pool
from kmem.runtime.replay import ReplayedRow
from kmem.runtime.schedule import Cadence, Ids, Query, RowSchedule, RowSpans, Span
from kmem.runtime.trace import MassLedger


class Stream:
    """`columns` counts everything in the KV cache, padding included; each row's schedule counts its real tokens alone."""

    def __init__(self, *, batch: int, cadence: Cadence, given: Sequence[Span] | None, columns: int) -> None:
        self.columns = columns
        self.ledger = MassLedger()
        self._rows: list[RowSpans] = [RowSchedule(row, cadence) if given is None else ReplayedRow(row, given) for row in range(batch)]
        self._now: list[Columns] = []
        self._beams = False
        self._last_plan: tuple[list[Ids], tuple[int, ...], list[Block]] | None = None

    @property
    def spans(self) -> list[Span]:
        return [span for row in self._rows for span in row.spans]

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

    def note_beams(self) -> None:
        """Rows were reordered: what a row generated is no longer known, so memories come from the prompt alone from now on."""
        self._beams = True

    def take_queries(self) -> list[Query]:
        """Spans of any row that still need memories."""
        return [query for row in self._rows for query in row.take_queries()]

    def reads(self) -> list[Ids]:
        """For each row, the ids that any column of this forward pass reads; ask once the queries are answered."""
        read: list[Ids] = []
        for row, now in zip(self._rows, self._now, strict=True):
            read.append(ids_in(spans_in(row.spans, now.start, now.start + sum(now.real))))
        return read

    def plan(self, reads: list[Ids], pool: Pool) -> list[Block]:
        """Blocks for this forward pass with these `reads()`; while generating, the last one serves until some row's memories change."""
        single = len(self._now[0].real) == 1
        if single and self._last_plan is not None and self._last_plan[:2] == (reads, pool.ids):
            return self._last_plan[2]
        blocks = plan_blocks([row.spans for row in self._rows], self._now, pool) if any(reads) else []
        self._last_plan = (reads, pool.ids, blocks) if single else None
        return blocks

    def settle(self, blocks: Sequence[Block], reading_heads: int) -> None:
        """Book the attention mass of this forward pass to tokens and memories."""
        for block in blocks:
            mass = (block.mass / max(1, reading_heads)).tolist()
            block.mass.zero_()
            for index, (row, ids) in enumerate(zip(self._now, block.ids, strict=True)):
                token = row.start + sum(row.real[: block.first])
                for is_real, shares in zip(row.real[block.first : block.last], mass[index], strict=True):
                    if is_real:
                        self.ledger.add(index, token, ids, shares)
                        token += 1
