"""A head at a time, and a block of its rows, in torch's own operations; also what a GPU without Triton takes."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from kmem.kernels.attention_columns.layout import Attention, Frames, Rows

BLOCK_ROWS = 80
"""Rows in memory at once, of all query heads of a group: with 3 of them and 2,048 keys 2 MiB."""


def column_sums(rows: Rows) -> Tensor:
    """[B, H, n]; see the package's function of this name."""
    total = torch.zeros(rows.position.shape, dtype=rows.dtype, device=rows.key.device)
    space = _Space(rows)
    for head in _heads(rows, BLOCK_ROWS):
        for block in head.blocks(None, space):
            own = total[head.batch, head.number, block.keys]
            own += block.probabilities.sum((0, 1))
    return total / rows.group


def column_frames(rows: Rows, known: Tensor | None, frames: Frames, before: Tensor) -> tuple[Tensor, Tensor]:
    """See the package's function of this name. It gives the rows' attention where it is asked for."""
    hop, length, keys = frames.hop, rows.query.shape[2], rows.key.shape[2]
    after = before.to(rows.dtype) * frames.decay ** (length // hop - 1)
    lse = torch.empty(*rows.query.shape[:2], hop, dtype=rows.dtype, device=rows.key.device)
    weighted = _weighted(frames, length // hop - 1, rows)
    at_once, space = max(1, BLOCK_ROWS // hop), _Space(rows)
    for head in _heads(rows, at_once * hop, context=0 if known is None else hop):
        queries = slice(head.number * rows.group, (head.number + 1) * rows.group)
        begin = min(head.begin, keys)
        seen = space("seen", length, keys - begin)
        began = time.perf_counter()
        for block in head.blocks(None if known is None else known[head.batch, queries].to(rows.dtype), space):
            place = slice(0, max(0, block.keys.stop - begin))
            if rows.attention is not None:
                _attend(rows.attention, head, queries, block)
                rows.attention.seconds += time.perf_counter() - began
            torch.sum(block.probabilities, 0, out=seen[block.rows, place])
            seen[block.rows, place.stop :] = 0
            if block.rows.stop == length:
                lse[head.batch, queries] = block.lse()[:, -hop:]
            began = time.perf_counter()
        series = seen.unfold(0, 2 * hop, hop).transpose(1, 2)  # [F, 2·hop, n], of which frames share what overlaps
        average = seen.new_zeros(frames.bins, seen.shape[1])
        for first in range(0, len(weighted), at_once):
            basis, frame = weighted[first : first + at_once], series[first : first + at_once]
            parts = torch.bmm(basis, frame, out=space("parts", len(basis), basis.shape[1], frame.shape[2])).square_()
            parts[:, 1 : frames.bins - 1].add_(parts[:, frames.bins :])
            average += parts[:, : frames.bins].sqrt_().sum(0)
        own = after[head.batch, head.number, begin:]
        own += average.T
    if rows.attention is not None:
        rows.attention.done = True
    return after, lse


class _Space:
    """Memory that is asked for again and again, by name: new pages for every block would cost a sixth of the time."""

    def __init__(self, rows: Rows) -> None:
        self._held: dict[str, Tensor] = {}
        self._like = torch.empty(0, dtype=rows.dtype, device=rows.key.device)

    def __call__(self, name: str, *shape: int) -> Tensor:
        """Of that shape, holding anything; what was given by this name before is overwritten."""
        numbers = prod(shape)
        held = self._held.get(name)
        if held is None or len(held) < numbers:
            held = self._held[name] = self._like.new_empty(numbers)
        return held[:numbers].view(shape)


def _weighted(frames: Frames, count: int, rows: Rows) -> Tensor:
    """[F, 2·hop, 2·hop]: the basis, times each frame's weight in the average and a query head's in its group.

    The first and the last frequency of a real series have no imaginary part.
    """
    weights = frames.weights(count).to(rows.key.device) / rows.group
    real, imaginary = frames.basis.to(weights)
    return (torch.cat([real, imaginary[1:-1]]) * weights[:, None, None]).to(rows.dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Block:
    """Rows `rows` of a head and the keys that any of them sees: their probabilities [G, m, ≤ n], and their largest scores top [G, m]."""

    rows: slice
    keys: slice
    probabilities: Tensor
    top: Tensor
    known: Tensor | None

    def lse(self) -> Tensor:
        """[G, m] log-sum-exp, −∞ where nothing is seen."""
        if self.known is not None:
            return self.known
        if not self.probabilities.shape[-1]:
            return self.top
        # The largest probability is exp(top) / Σ exp.
        return (self.top - self.probabilities.amax(-1).log()).nan_to_num_(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Head:
    """A key-value head's rows: query [G, r, D], key [n, D] at position [n]. begin: keys that are missing, which come first.

    spans: of each block its rows (start, stop), and how many keys all of them (`least`) and any of them (`most`) may see.
    """

    batch: int
    number: int
    query: Tensor
    key: Tensor
    position: Tensor
    first: int
    softcap: float | None
    begin: int
    spans: list[tuple[int, int, int, int]]

    def blocks(self, known: Tensor | None, space: _Space) -> Iterator[_Block]:
        """One after another, each in the same memory; known [G, hop]: log-sum-exp of the first one's rows."""
        group, _, dim = self.query.shape
        for start, stop, least, most in self.spans:
            begin, length = min(self.begin, most), stop - start
            query = self.query[:, start:stop].reshape(group * length, dim)
            scores = torch.mm(query, self.key[begin:most].T, out=space("scores", group * length, most - begin)).view(group, length, -1)
            if self.softcap is not None:
                scores = scores.div_(self.softcap).tanh_().mul_(self.softcap)
            if least < most:
                at = torch.arange(self.first + start, self.first + stop, device=scores.device)
                partly = max(least, begin)
                scores[..., partly - begin :].masked_fill_(self.position[partly:most] > at[:, None], -torch.inf)
            top = scores.amax(-1) if most > begin else scores.new_full(scores.shape[:-1], -torch.inf)
            given = known if start == 0 else None
            if given is not None:
                scores.sub_(given.nan_to_num(neginf=0.0)[..., None]).exp_()
            else:
                torch.softmax(scores, -1, out=scores)
            if least <= self.begin:  # a row that sees nothing has −∞ alone, whose softmax is no number
                scores.nan_to_num_(0.0)
            yield _Block(rows=slice(start, stop), keys=slice(begin, most), probabilities=scores, top=top, known=given)


def _attend(attention: Attention, head: _Head, queries: slice, block: _Block) -> None:
    """Put in what the block's rows [G, m] read."""
    group, length, keys = block.probabilities.shape
    value = attention.value[head.batch, head.number, block.keys].to(attention.output.dtype)
    output = block.probabilities.view(group * length, keys) @ value
    attention.output[head.batch, queries, block.rows] = output.view(group, length, -1)
    attention.lse[head.batch, queries, block.rows] = block.lse()


def _heads(rows: Rows, size: int, *, context: int = 0) -> Iterator[_Head]:
    """Those of all batch rows, in blocks of `size` rows; `context` rows are a block of their own."""
    batch, heads, _ = rows.position.shape
    length = rows.query.shape[2]
    starts = [*([0] if context else []), *range(context, length, size)]
    stops = [*starts[1:], length]
    ends = [rows.first + start for start in starts] + [rows.first + stop - 1 for stop in stops]
    asked = torch.tensor([-1, *ends], device=rows.position.device).expand(batch, heads, -1).contiguous()
    found = torch.searchsorted(rows.position.contiguous(), asked, right=True).tolist()
    scaled = torch.unflatten(rows.query.to(rows.dtype) * rows.scaling, 1, (heads, rows.group))
    for row in range(batch):
        for number in range(heads):
            begin, *counts = found[row][number]
            spans = zip(starts, stops, counts[: len(starts)], counts[len(starts) :], strict=True)
            yield _Head(
                batch=row,
                number=number,
                query=scaled[row, number],
                key=rows.key[row, number].to(rows.dtype),
                position=rows.position[row, number],
                first=rows.first,
                softcap=rows.softcap,
                begin=begin,
                spans=list(spans),
            )
