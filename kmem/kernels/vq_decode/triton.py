"""The same sum of rows on a GPU: a program decodes a block of vectors, field by field, adding in float32."""

from weakref import WeakKeyDictionary

import torch
import triton
import triton.language as tl
from torch import Tensor

from kmem.kernels.vq_decode.table import Table

BLOCK = 64
"""Vectors of a program."""


@triton.jit  # type: ignore[untyped-decorator]
def sum_rows(  # type: ignore[no-untyped-def]  # Triton reads annotations as types of its own
    code,
    stride_byte,
    rows,
    fields,
    first_row,
    inside,
    CODE_BYTES: tl.constexpr,
    FIELDS: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """[n, BLOCK_DIM] float32 vectors of the codes that begin at the n pointers `code`; 0 where not `inside`, which is never read."""
    column = tl.arange(0, BLOCK_DIM)
    mask = inside[:, None] & (column < DIM)[None, :]
    total = tl.zeros((code.shape[0], BLOCK_DIM), dtype=tl.float32)
    for field in range(FIELDS):
        first = tl.load(fields + 3 * field)
        largest = tl.load(fields + 3 * field + 1)
        start = tl.load(fields + 3 * field + 2)
        window = tl.zeros((code.shape[0],), dtype=tl.int32)
        for byte in tl.static_range(4):  # a field of up to 25 bits lies inside the four bytes that begin where it does
            place = tl.minimum(first // 8 + byte, CODE_BYTES - 1)  # past the end stand only bits above the field
            loaded = tl.load(code + place * stride_byte, mask=inside, other=0)
            window = window | (loaded.to(tl.int32) << (8 * byte))
        index = ((window >> (first % 8)) & largest) + start + first_row
        total += tl.load(rows + index.to(tl.int64)[:, None] * DIM + column[None, :], mask=mask, other=0.0).to(tl.float32)
    return total


@triton.jit  # type: ignore[untyped-decorator]
def _decode(  # type: ignore[no-untyped-def]
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
    inside = vector < count
    first_row = tl.load(first_rows + vector, mask=inside, other=0)
    code = codes + vector.to(tl.int64) * CODE_BYTES
    total = sum_rows(code, 1, rows, fields, first_row, inside, CODE_BYTES, FIELDS, DIM, BLOCK_DIM)
    column = tl.arange(0, BLOCK_DIM)
    tl.store(out + vector.to(tl.int64)[:, None] * DIM + column[None, :], total, mask=inside[:, None] & (column < DIM)[None, :])


_FIELDS: WeakKeyDictionary[Table, Tensor] = WeakKeyDictionary()


def field_table(table: Table) -> Tensor:
    """[F, 3] int32 first bit, largest number and first row of each field, on the table's device; copied there once."""
    if table not in _FIELDS:
        numbers = [(first, 2**bits - 1, start) for first, bits, start in table.fields]
        _FIELDS[table] = torch.tensor(numbers, dtype=torch.int32, device=table.rows.device)
    return _FIELDS[table]


def vq_decode(codes: Tensor, table: Table, first_rows: Tensor) -> Tensor:
    """codes: [n, code_bytes] uint8 and first_rows: [n] int32 on the table's device → vectors [n, D] of the table's type."""
    count, dim = len(codes), table.rows.shape[1]
    out = torch.empty(count, dim, dtype=table.rows.dtype, device=codes.device)
    if count == 0:
        return out
    _decode[(triton.cdiv(count, BLOCK),)](
        codes.contiguous(),
        table.rows,
        field_table(table),
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
