"""On a GPU: one kernel finds each row's log-sum-exp, a second goes down the rows with a block of keys and keeps what a column becomes."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kmem.kernels.attention_columns.layout import Frames, Rows
from kmem.kernels.memory_attention.triton_softmax import LOG2_E, products

BLOCK_KEYS = 64
ROWS = 16
"""Of a block where no frame says how many."""


@triton.jit  # type: ignore[untyped-decorator]
def scores_of(  # type: ignore[no-untyped-def]  # Triton reads annotations as types of its own
    query,
    keys,
    position,
    row,
    first,
    length,
    query_number,
    query_dim,
    scaling,
    softcap,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    CAPPED: tl.constexpr,
):
    """[m, n] scores in base 2 of rows `row` [m] of one head, for keys [n, BLOCK_DIM] at `position` [n]; −∞ where a row does not look."""
    dim = tl.arange(0, BLOCK_DIM)
    exists = row < length
    place = query + row.to(tl.int64)[:, None] * query_number + dim[None, :] * query_dim
    queries = tl.load(place, mask=exists[:, None] & (dim < DIM)[None, :], other=0.0)
    scores = products(queries, keys) * scaling
    if CAPPED:
        falling = tl.exp2(tl.abs(scores) * (-2.0 * LOG2_E / softcap))
        tanh = (1.0 - falling) / (1.0 + falling)
        scores = tl.where(scores < 0, -tanh, tanh) * softcap
    visible = exists[:, None] & (position >= 0)[None, :] & (position[None, :] <= (first + row)[:, None])
    return tl.where(visible, scores * LOG2_E, float("-inf"))


@triton.jit  # type: ignore[untyped-decorator]
def read_keys(  # type: ignore[no-untyped-def]
    key, positions, number, keys, key_number, key_dim, position_number, DIM: tl.constexpr, BLOCK_DIM: tl.constexpr
):
    """Keys [n, BLOCK_DIM] and their positions [n] at `number` [n], −1 from `keys` on."""
    dim = tl.arange(0, BLOCK_DIM)
    exists = number < keys
    place = key + number.to(tl.int64)[:, None] * key_number + dim[None, :] * key_dim
    block = tl.load(place, mask=exists[:, None] & (dim < DIM)[None, :], other=0.0)
    return block, tl.load(positions + number.to(tl.int64) * position_number, mask=exists, other=-1)


@triton.jit(do_not_specialize=["first", "length", "keys"])  # type: ignore[untyped-decorator]
def row_sums(  # type: ignore[no-untyped-def]
    query,
    query_row,
    query_head,
    query_number,
    query_dim,
    key,
    key_row,
    key_head,
    key_number,
    key_dim,
    positions,
    position_row,
    position_head,
    position_number,
    lse,
    first,
    length,
    keys,
    scaling,
    softcap,
    GROUP: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    CAPPED: tl.constexpr,
):
    """Program (block of rows, query head, batch row) → lse [B, Q, r] in base 2."""
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    heads = tl.num_programs(1)
    query += batch * query_row + head.to(tl.int64) * query_head
    key += batch * key_row + (head // GROUP).to(tl.int64) * key_head
    positions += batch * position_row + (head // GROUP).to(tl.int64) * position_head
    top = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
    norm = tl.zeros((BLOCK_ROWS,), tl.float32)
    for start in range(0, keys, BLOCK_KEYS):
        number = start + tl.arange(0, BLOCK_KEYS)
        block, position = read_keys(key, positions, number, keys, key_number, key_dim, position_number, DIM, BLOCK_DIM)
        scores = scores_of(query, block, position, row, first, length, query_number, query_dim, scaling, softcap, DIM, BLOCK_DIM, CAPPED)
        higher = tl.maximum(top, tl.max(scores, 1))
        finite = tl.where(higher == float("-inf"), 0.0, higher)
        norm = norm * tl.exp2(top - finite) + tl.sum(tl.exp2(scores - finite[:, None]), 1)
        top = higher
    found = tl.where(norm > 0, top + tl.log2(tl.where(norm > 0, norm, 1.0)), float("-inf"))
    tl.store(lse + (batch * heads + head) * length + row, found, mask=row < length)


@triton.jit(do_not_specialize=["first", "length", "keys"])  # type: ignore[untyped-decorator]
def columns(  # type: ignore[no-untyped-def]
    query,
    query_row,
    query_head,
    query_number,
    query_dim,
    key,
    key_row,
    key_head,
    key_number,
    key_dim,
    positions,
    position_row,
    position_head,
    position_number,
    lse,
    basis,
    output,
    first,
    length,
    keys,
    scaling,
    softcap,
    decay,
    GROUP: tl.constexpr,
    DIM: tl.constexpr,
    BINS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    BLOCK_BINS: tl.constexpr,
    CAPPED: tl.constexpr,
    SPECTRAL: tl.constexpr,
):
    """Program (block of keys, key-value head, batch row): sums [B, H, n], or SPECTRAL averages [B, H, n, BINS] that go on.

    SPECTRAL: BLOCK_ROWS is the hop; basis [4, BLOCK_BINS, hop] is the real part of a frame's first and second half, then the imaginary.
    """
    number = tl.program_id(0) * BLOCK_KEYS + tl.arange(0, BLOCK_KEYS)
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    heads = tl.num_programs(1)
    query += batch * query_row
    lse += batch * heads * GROUP * length
    block, position = read_keys(
        key + batch * key_row + head.to(tl.int64) * key_head,
        positions + batch * position_row + head.to(tl.int64) * position_head,
        number,
        keys,
        key_number,
        key_dim,
        position_number,
        DIM,
        BLOCK_DIM,
    )
    bin_number = tl.arange(0, BLOCK_BINS)
    within = tl.arange(0, BLOCK_ROWS)
    place = (batch * heads + head) * keys + number
    spectrum = output + place[None, :] * BINS + bin_number[:, None]
    stored = (number < keys)[None, :] & (bin_number < BINS)[:, None]
    entry = bin_number[:, None] * BLOCK_ROWS + within[None, :]
    if SPECTRAL:
        average = tl.load(spectrum, mask=stored, other=0.0)
        real_first, real_second = tl.load(basis + entry), tl.load(basis + BLOCK_BINS * BLOCK_ROWS + entry)
        imaginary_first = tl.load(basis + 2 * BLOCK_BINS * BLOCK_ROWS + entry)
        imaginary_second = tl.load(basis + 3 * BLOCK_BINS * BLOCK_ROWS + entry)
    total = tl.zeros((BLOCK_KEYS,), tl.float32)
    last = tl.zeros((BLOCK_ROWS, BLOCK_KEYS), tl.float32)
    for start in range(0, length, BLOCK_ROWS):
        row = start + within
        seen = tl.zeros((BLOCK_ROWS, BLOCK_KEYS), tl.float32)
        for member in range(GROUP):
            own = (head * GROUP + member).to(tl.int64)
            scores = scores_of(
                query + own * query_head,
                block,
                position,
                row,
                first,
                length,
                query_number,
                query_dim,
                scaling,
                softcap,
                DIM,
                BLOCK_DIM,
                CAPPED,
            )
            sums = tl.load(lse + own * length + row, mask=row < length, other=float("-inf"))
            seen += tl.exp2(scores - tl.where(sums == float("-inf"), 0.0, sums)[:, None])
        seen = seen / GROUP
        if SPECTRAL:
            if start > 0:
                real = tl.dot(real_first, last, input_precision="ieee")
                real = tl.dot(real_second, seen, real, input_precision="ieee")
                imaginary = tl.dot(imaginary_first, last, input_precision="ieee")
                imaginary = tl.dot(imaginary_second, seen, imaginary, input_precision="ieee")
                average = average * decay + tl.sqrt(real * real + imaginary * imaginary) * (1.0 - decay)
            last = seen
        else:
            total += tl.sum(seen, 0)
    if SPECTRAL:
        tl.store(spectrum, average, mask=stored)
    else:
        tl.store(output + place, total, mask=number < keys)


def column_sums(rows: Rows) -> Tensor:
    """[B, H, n] float32; see the package's function of this name."""
    output = torch.empty(rows.position.shape, dtype=torch.float32, device=rows.key.device)
    _reduce(rows, _row_sums(rows), None, output)
    return output


def column_frames(rows: Rows, known: Tensor | None, frames: Frames, before: Tensor) -> tuple[Tensor, Tensor]:
    """See the package's function of this name. The hop must suit (`Frames.suits_blocks`)."""
    lse = _row_sums(rows)
    if known is not None:
        lse[..., : frames.hop] = known.float() * LOG2_E.value
    output = before.float().contiguous().clone()
    _reduce(rows, lse, frames, output)
    return output, lse[..., -frames.hop :] / LOG2_E.value


def _row_sums(rows: Rows) -> Tensor:
    batch, query_heads, length, dim = rows.query.shape
    lse = torch.empty(batch, query_heads, length, dtype=torch.float32, device=rows.query.device)
    if lse.numel():
        row_sums[triton.cdiv(length, ROWS), query_heads, batch](
            *_operands(rows), lse, *_sizes(rows), **_constants(rows, dim), BLOCK_ROWS=ROWS
        )
    return lse


def _reduce(rows: Rows, lse: Tensor, frames: Frames | None, output: Tensor) -> None:
    batch, heads, keys, dim = rows.key.shape
    if not output.numel():
        return
    hop, bins = (frames.hop, frames.bins) if frames is not None else (ROWS, 1)
    block_bins = max(16, triton.next_power_of_2(bins))
    basis = torch.zeros(4, block_bins, hop, device=rows.key.device)
    if frames is not None:
        basis[:, :bins] = torch.unflatten(frames.basis, 2, (2, hop)).transpose(1, 2).flatten(0, 1).to(basis)
    columns[triton.cdiv(keys, BLOCK_KEYS), heads, batch](
        *_operands(rows),
        lse,
        basis,
        output,
        *_sizes(rows),
        0.0 if frames is None else frames.decay,
        **_constants(rows, dim),
        BINS=bins,
        BLOCK_ROWS=hop,
        BLOCK_BINS=block_bins,
        SPECTRAL=frames is not None,
    )


def _operands(rows: Rows) -> tuple[Tensor | int, ...]:
    query, key, position = rows.query, rows.key, rows.position
    return query, *query.stride(), key, *key.stride(), position, *position.stride()


def _sizes(rows: Rows) -> tuple[float, ...]:
    return rows.first, rows.query.shape[2], rows.key.shape[2], rows.scaling, rows.softcap or 0.0


def _constants(rows: Rows, dim: int) -> dict[str, int | bool]:
    return {
        "GROUP": rows.group,
        "DIM": dim,
        "BLOCK_KEYS": BLOCK_KEYS,
        "BLOCK_DIM": max(16, triton.next_power_of_2(dim)),
        "CAPPED": rows.softcap is not None,
    }
