"""The same sum of rows on a GPU: a program decodes a block of vectors, field by field, adding in float32."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kmem.kernels.vq_decode.table import Table

BLOCK = 64
"""Vectors of a program."""


@triton.jit  # type: ignore[untyped-decorator]
def _sum_rows(  # type: ignore[no-untyped-def]  # Triton reads annotations as types of its own
    codes,
    rows,
    fields,
    first_rows,
    out,
    count,
    CODE_BYTES: tl.constexpr,
    FIELDS: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    vector = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    column = tl.arange(0, BLOCK_DIM)
    inside = vector < count
    mask = inside[:, None] & (column < DIM)[None, :]
    begin = tl.load(first_rows + vector, mask=inside, other=0)
    total = tl.zeros((BLOCK_ROWS, BLOCK_DIM), dtype=tl.float32)
    for field in range(FIELDS):
        first = tl.load(fields + 3 * field)
        largest = tl.load(fields + 3 * field + 1)
        start = tl.load(fields + 3 * field + 2)
        window = tl.zeros((BLOCK_ROWS,), dtype=tl.int32)
        for byte in tl.static_range(4):  # a field of up to 25 bits lies inside the four bytes that begin where it does
            place = tl.minimum(first // 8 + byte, CODE_BYTES - 1)  # past the end stand only bits above the field
            loaded = tl.load(codes + vector.to(tl.int64) * CODE_BYTES + place, mask=inside, other=0)
            window = window | (loaded.to(tl.int32) << (8 * byte))
        index = ((window >> (first % 8)) & largest) + start + begin
        total += tl.load(rows + index.to(tl.int64)[:, None] * DIM + column[None, :], mask=mask, other=0.0).to(tl.float32)
    tl.store(out + vector.to(tl.int64)[:, None] * DIM + column[None, :], total, mask=mask)


def vq_decode(codes: Tensor, table: Table, first_rows: Tensor) -> Tensor:
    """codes: [n, code_bytes] uint8 and first_rows: [n] int32 on the table's device → vectors [n, D] of the table's type."""
    count, dim = len(codes), table.rows.shape[1]
    out = torch.empty(count, dim, dtype=table.rows.dtype, device=codes.device)
    if count == 0:
        return out
    fields = torch.tensor([(first, 2**bits - 1, start) for first, bits, start in table.fields], dtype=torch.int32, device=codes.device)
    _sum_rows[(triton.cdiv(count, BLOCK),)](
        codes.contiguous(),
        table.rows,
        fields,
        first_rows.contiguous(),
        out,
        count,
        CODE_BYTES=table.code_bytes,
        FIELDS=len(table.fields),
        DIM=dim,
        BLOCK_ROWS=BLOCK,
        BLOCK_DIM=triton.next_power_of_2(dim),
    )
    return out
