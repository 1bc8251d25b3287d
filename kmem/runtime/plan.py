"""Turn spans into what one forward pass needs: for each block of query columns, which resident memories each row may look at."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kmem.runtime.pool import Pool
from kmem.runtime.schedule import Ids, Span

BLOCK_TOKENS = 64
"""Query columns handled together, so that a long prompt never faces all its chunks' memories at once."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """One row of a forward pass: `start` real tokens came before; `real[c]` says whether column c is a token or padding."""

    start: int
    real: tuple[bool, ...]


@dataclass(eq=False, kw_only=True)
class Block:
    """Columns first..last−1: `resident` [B, R] rows of the pool (padded with 0), `visible` [B, q, R]; `ids` the same R ids per row."""

    first: int
    last: int
    ids: tuple[tuple[int, ...], ...]
    resident: Tensor
    visible: Tensor
    mass: Tensor
    _layers: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)

    def layer(self, pool: Pool, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Bracket and memories of a layer: key and value [B, H, P+R·m, D], mask [B, H, q, P+R·m]; the bracket shows beside any memory."""
        if index not in self._layers:
            bracket_key, bracket_value = pool.bracket[index]
            slots = pool.layer(index)
            batch, length, _ = self.visible.shape
            heads, dim = bracket_key.shape[0], bracket_key.shape[-1]
            key, value = (
                torch.cat([shared.expand(batch, -1, -1, -1), own[self.resident].transpose(1, 2).reshape(batch, heads, -1, dim)], dim=2)
                for shared, own in ((bracket_key, slots.key), (bracket_value, slots.value))
            )
            filled = slots.filled[self.resident].transpose(1, 2)  # [B, H, R, m]
            own_mask = (self.visible[:, None, :, :, None] & filled[:, :, None]).reshape(batch, heads, length, -1)
            bracket_mask = self.visible.any(-1)[:, None, :, None].expand(batch, heads, length, bracket_key.shape[1])
            self._layers[index] = key, value, torch.cat([bracket_mask, own_mask], dim=-1)
        return self._layers[index]

    def add_mass(self, slot_mass: Tensor, bracket_tokens: int) -> None:
        """Add one layer's probabilities [B, H, q, P+R·m] to `mass` [B, q, R]."""
        own = slot_mass[..., bracket_tokens:].detach()
        batch, _, length, width = own.shape
        if width:
            self.mass += own.sum(dim=1).view(batch, length, self.mass.shape[-1], -1).sum(-1)


def spans_in(spans: Sequence[Span], start: int, stop: int) -> list[Span]:
    """The spans that overlap tokens start..stop−1 and read something."""
    return [span for span in spans if span.ids and span.start < stop and span.stop > start]


def ids_in(spans: Sequence[Span]) -> Ids:
    """What the spans read, each id once, in order."""
    return tuple(dict.fromkeys(memory_id for span in spans for memory_id in span.ids))


def plan_blocks(rows: Sequence[Sequence[Span]], columns: Sequence[Columns], pool: Pool) -> list[Block]:
    """Blocks that cover all columns; `pool` must already hold every id."""
    length = len(columns[0].real)
    where = {memory_id: row for row, memory_id in enumerate(pool.ids)}
    return [_block(rows, columns, where, first, min(first + BLOCK_TOKENS, length), pool) for first in range(0, length, BLOCK_TOKENS)]


def _block(rows: Sequence[Sequence[Span]], columns: Sequence[Columns], where: dict[int, int], first: int, last: int, pool: Pool) -> Block:
    read: list[tuple[int, ...]] = []
    sights: list[list[list[int]]] = []
    for spans, row in zip(rows, columns, strict=True):
        before = row.start + sum(row.real[:first])
        tokens = sum(row.real[first:last])
        overlapping = spans_in(spans, before, before + tokens)
        ids = ids_in(overlapping)
        place = {memory_id: index for index, memory_id in enumerate(ids)}
        read.append(ids)
        sights.append(_sight(overlapping, place, before, row.real[first:last]))
    width = max(map(len, read))
    resident = torch.zeros(len(rows), width, dtype=torch.long)
    visible = torch.zeros(len(rows), last - first, width, dtype=torch.bool)
    for index, (ids, sight) in enumerate(zip(read, sights, strict=True)):
        resident[index, : len(ids)] = torch.tensor([where[memory_id] for memory_id in ids], dtype=torch.long)
        for column, seen in enumerate(sight):
            visible[index, column, seen] = True
    return Block(
        first=first,
        last=last,
        ids=tuple(read),
        resident=resident.to(pool.device),
        visible=visible.to(pool.device),
        mass=torch.zeros(visible.shape, device=pool.device),
    )


def _sight(spans: Sequence[Span], place: dict[int, int], before: int, real: Sequence[bool]) -> list[list[int]]:
    """For each column, the places of the memories that its token may look at; padding sees none."""
    sight: list[list[int]] = []
    token = before
    for is_real in real:
        seen = [place[i] for span in spans if span.start <= token < span.stop for i in span.ids] if is_real else []
        sight.append(seen)
        token += is_real
    return sight
