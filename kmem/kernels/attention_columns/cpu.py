"""A block of rows at a time, in torch's own operations; also what a GPU without Triton takes."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from kmem.kernels.attention_columns.layout import Frames, Rows

BLOCK_ROWS = 64
"""Rows in memory at once: with 9 query heads and 4,096 keys 9 MiB."""


def column_sums(rows: Rows) -> Tensor:
    """[B, H, n]; see the package's function of this name."""
    total = torch.zeros(rows.position.shape, dtype=rows.dtype, device=rows.key.device)
    for block, _ in _blocks(rows, BLOCK_ROWS, None):
        total[..., : block.shape[-1]] += block.sum(2)
    return total


def column_frames(rows: Rows, known: Tensor | None, frames: Frames, before: Tensor) -> tuple[Tensor, Tensor]:
    """See the package's function of this name."""
    hop, keys = frames.hop, rows.key.shape[2]
    context = replace(rows, query=rows.query[:, :, :hop])
    last, lse = _probabilities(context, known, _edges(context))
    last = _widened(last, keys)
    first_half, second_half = frames.halves(last)
    after = before.to(rows.dtype)
    others = replace(rows, query=rows.query[:, :, hop:], first=rows.first + hop)
    for block, sums in _blocks(others, max(1, BLOCK_ROWS // hop) * hop, None):
        count, seen = block.shape[2] // hop, block.shape[-1]
        hops = torch.unflatten(torch.cat([last[..., :seen], block], dim=2), 2, (count + 1, hop))
        parts = first_half @ hops[:, :, :-1] + second_half @ hops[:, :, 1:]  # [B, H, F, 2·bins, n]
        real, imaginary = torch.unflatten(parts.square_(), 3, (2, -1)).unbind(3)
        spectra = (real + imaginary).sqrt_()
        average = torch.einsum("bhfkn,f->bhnk", spectra, frames.weights(count).to(spectra))
        after = frames.decay**count * after
        after[:, :, :seen] += average
        last, lse = _widened(hops[:, :, -1], keys), sums[..., -hop:]
    return after, lse


def _widened(block: Tensor, keys: int) -> Tensor:
    """[B, H, r, n] with zeros for the keys that the block's rows don't reach."""
    missing = keys - block.shape[-1]
    return torch.nn.functional.pad(block, (0, missing)) if missing else block


def _blocks(rows: Rows, size: int, known: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """(probabilities [B, H, m, ≤ n], lse [B, Q, m]) of `size` rows at a time; the keys after the last one seen are left out."""
    for start in range(0, rows.query.shape[2], size):
        block = replace(rows, query=rows.query[:, :, start : start + size], first=rows.first + start)
        yield _probabilities(block, known, _edges(block))


def _edges(rows: Rows) -> tuple[int, int, int]:
    """Keys (a, b, c): those before a may be missing, all of a … b − 1 are seen by every row, those from c on by none."""
    last = rows.first + rows.query.shape[2] - 1
    present, all_see = rows.position >= 0, (rows.position <= rows.first) & (rows.position >= 0)
    reached = present & (rows.position <= last)
    end = _last(reached.flatten(0, 1).any(0))
    begin = _first(all_see.flatten(0, 1).all(0))
    hidden = ~all_see.flatten(0, 1).all(0)
    hidden[:begin] = False
    return begin, min(_first(hidden), end), end


def _first(flags: Tensor) -> int:
    found = flags.nonzero()
    return int(found[0]) if len(found) else len(flags)


def _last(flags: Tensor) -> int:
    found = flags.nonzero()
    return int(found[-1]) + 1 if len(found) else 0


def _probabilities(rows: Rows, known: Tensor | None, edges: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """As `naive.attention`, of the keys before edge c."""
    begin, middle, end = edges
    batch, query_heads, length, dim = rows.query.shape
    heads = rows.key.shape[1]
    if not end:
        nothing = rows.key.new_full((batch, query_heads, length), -torch.inf, dtype=rows.dtype)
        return nothing.new_zeros(batch, heads, length, 0), nothing if known is None else known.to(nothing)
    query = rows.query.to(rows.dtype).reshape(batch, heads, rows.group * length, dim) * rows.scaling
    scores = query @ rows.key[:, :, :end].to(rows.dtype).transpose(-1, -2)
    if rows.softcap is not None:
        scores = scores.div_(rows.softcap).tanh_().mul_(rows.softcap)
    grouped = scores.view(batch, heads, rows.group, length, end)
    at = rows.first + torch.arange(length, device=rows.query.device)
    for part in (slice(0, min(begin, end)), slice(middle, end)):
        position = rows.position[:, :, None, part]
        hidden = (position < 0) | (position > at[:, None])
        grouped[..., part].masked_fill_(hidden[:, :, None], -torch.inf)
    lse = grouped.logsumexp(-1) if known is None else torch.unflatten(known.to(scores), 1, (heads, rows.group))
    # A row that sees nothing has −∞ in every score, so what is subtracted there must only be finite.
    grouped.sub_(lse.nan_to_num(neginf=0.0)[..., None]).exp_()
    return grouped.mean(2), lse.flatten(1, 2)
