"""A head at a time, and a block of its rows, in torch's own operations; also what a GPU without Triton takes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kmem.kernels.attention_columns.layout import Frames, Rows

BLOCK_ROWS = 80
"""Rows in memory at once, of all query heads of a group: with 3 of them and 2,048 keys 2 MiB."""


def column_sums(rows: Rows) -> Tensor:
    """[B, H, n]; see the package's function of this name."""
    total = torch.zeros(rows.position.shape, dtype=rows.dtype, device=rows.key.device)
    for head in _heads(rows, BLOCK_ROWS):
        for seen, scores, _ in head.blocks(None, 0):
            own = total[head.batch, head.number, seen]
            own += scores.sum((0, 1))
    return total / rows.group


def column_frames(rows: Rows, known: Tensor | None, frames: Frames, before: Tensor) -> tuple[Tensor, Tensor]:
    """See the package's function of this name."""
    hop, length, keys = frames.hop, rows.query.shape[2], rows.key.shape[2]
    after = before.to(rows.dtype) * frames.decay ** (length // hop - 1)
    lse = torch.full((*rows.query.shape[:2], hop), -torch.inf, dtype=rows.dtype, device=rows.key.device)
    size = max(1, BLOCK_ROWS // hop) * hop
    weighted = _weighted(frames, length // hop - 1, rows)
    for head in _heads(rows, size, context=0 if known is None else hop):
        mine = slice(head.number * rows.group, (head.number + 1) * rows.group)
        begin = min(head.begin, keys)
        seen = torch.zeros(length, keys - begin, dtype=rows.dtype, device=rows.key.device)
        start = 0
        for place, probabilities, sums in head.blocks(None if known is None else known[head.batch, mine].to(rows.dtype), hop):
            stop = start + probabilities.shape[1]
            torch.sum(probabilities, 0, out=seen[start:stop, place.start - begin : place.stop - begin])
            start = stop
            if sums is not None:
                lse[head.batch, mine] = sums
        own = after[head.batch, head.number, begin:]
        series = seen.unfold(0, 2 * hop, hop).transpose(1, 2)  # [F, 2·hop, n], of which frames share what overlaps
        for first in range(0, len(weighted), size // hop):
            parts = torch.bmm(weighted[first : first + size // hop], series[first : first + size // hop]).square_()
            power = parts[:, : frames.bins].add_(parts[:, frames.bins :])
            own += power.sqrt_().sum(0).T
    return after, lse


def _weighted(frames: Frames, count: int, rows: Rows) -> Tensor:
    """[F, 2·bins, 2·hop]: the basis, times each frame's weight in the average and a query head's in its group."""
    weights = frames.weights(count).to(rows.key.device) / rows.group
    return (frames.basis.to(weights).flatten(0, 1) * weights[:, None, None]).to(rows.dtype)


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

    def blocks(self, known: Tensor | None, hop: int) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """(keys that are seen, their probabilities [G, m, ≤ n], log-sum-exp [G, hop] of the last hop rows with the last block).

        known [G, hop]: log-sum-exp of the first block's rows.
        """
        group, rows, dim = self.query.shape
        for start, stop, least, most in self.spans:
            length = stop - start
            seen = slice(min(self.begin, most), most)
            query = self.query[:, start:stop].reshape(group * length, dim)
            scores = (query @ self.key[seen].T).view(group, length, -1)
            if self.softcap is not None:
                scores = scores.div_(self.softcap).tanh_().mul_(self.softcap)
            if least < most:
                at = torch.arange(self.first + start, self.first + stop, device=scores.device)
                partly = max(least, seen.start)
                scores[..., partly - seen.start :].masked_fill_(self.position[partly:most] > at[:, None], -torch.inf)
            ends = scores[:, length - hop :].logsumexp(-1) if hop and stop == rows else None
            if known is not None and start == 0:
                probabilities = scores.sub_(known.nan_to_num(neginf=0.0)[..., None]).exp_()
            else:
                probabilities = torch.softmax(scores, -1, out=scores)
            # A row that sees nothing has only −∞, whose softmax is no number.
            yield seen, probabilities if least > self.begin else probabilities.nan_to_num_(0.0), ends


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
