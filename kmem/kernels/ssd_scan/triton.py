"""The same chunks on a GPU, in three kernels as in Mamba-2: what each chunk adds to the state, the state before each, then all outputs.

Forward only. Sums of decays come in float64, since their differences stand in exponents; products are float32 by three of tf32.
"""

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

CHUNK = 64
"""Tokens of a chunk."""

WIDTH_STEP = 32
"""Numbers of a key at a time where outputs are made: more spill registers on sm_90."""

_CARRIED = 256
"""Numbers of a state that one program carries from chunk to chunk."""


@triton.jit  # type: ignore[untyped-decorator]
def _read(part, row, token, unit, dim, length, row_stride, token_stride, unit_stride, dim_stride, DIM: tl.constexpr):  # type: ignore[no-untyped-def]
    """[n, d] float32 of a head or group `unit` at `token` [n] and `dim` [d]; 0 beyond the length and DIM, which is never read."""
    begin = part + row.to(tl.int64) * row_stride + unit * unit_stride
    places = begin + token.to(tl.int64)[:, None] * token_stride + dim[None, :] * dim_stride
    return tl.load(places, mask=(token < length)[:, None] & (dim < DIM)[None, :], other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=["length"])  # type: ignore[untyped-decorator]
def add_up(  # type: ignore[no-untyped-def]  # Triton reads annotations as types of its own
    value,
    value_row,
    value_token,
    value_head,
    value_dim,
    key,
    key_row,
    key_token,
    key_group,
    key_dim,
    total,
    added,
    length,
    SHARED: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
):
    """Program (chunk, head, row): the chunk's own state at its end → added [B, C, H, D, n]."""
    chunk, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    unit = (row.to(tl.int64) * tl.num_programs(0) + chunk) * tl.num_programs(1) + head
    place = tl.arange(0, BLOCK_TOKENS)
    token = chunk * BLOCK_TOKENS + place
    sums = tl.load(total + unit * BLOCK_TOKENS + place)
    until_end = tl.exp((tl.load(total + unit * BLOCK_TOKENS + BLOCK_TOKENS - 1) - sums).to(tl.float32))
    dim, width = tl.arange(0, BLOCK_DIM), tl.arange(0, BLOCK_WIDTH)
    values = _read(value, row, token, head, dim, length, value_row, value_token, value_head, value_dim, DIM)
    keys = _read(key, row, token, head // SHARED, width, length, key_row, key_token, key_group, key_dim, WIDTH)
    state = tl.dot(tl.trans(values * until_end[:, None]), keys, input_precision="tf32x3")
    places = added + (unit * DIM + dim[:, None]) * WIDTH + width[None, :]
    tl.store(places, state, mask=(dim < DIM)[:, None] & (width < WIDTH)[None, :])


@triton.jit(do_not_specialize=["chunks"])  # type: ignore[untyped-decorator]
def carry(  # type: ignore[no-untyped-def]
    added, state, total, last, chunks, BEGINS: tl.constexpr, SIZE: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK: tl.constexpr
):
    """Program (block of numbers, head, row): `added` becomes the state before each chunk, `last` [B, H, D, n] the one after all."""
    head, row, heads = tl.program_id(1), tl.program_id(2).to(tl.int64), tl.num_programs(1)
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = number < SIZE
    own = (row * heads + head) * SIZE + number
    now = tl.zeros((BLOCK,), tl.float32)
    if BEGINS:
        now += tl.load(state + own, mask=exists, other=0.0).to(tl.float32)
    for chunk in range(chunks):
        unit = (row * chunks + chunk) * heads + head
        fresh = tl.load(added + unit * SIZE + number, mask=exists, other=0.0)
        tl.store(added + unit * SIZE + number, now, mask=exists)
        whole = tl.exp(tl.load(total + (unit + 1) * BLOCK_TOKENS - 1).to(tl.float32))
        now = now * whole + fresh
    tl.store(last + own, now, mask=exists)


@triton.jit(do_not_specialize=["length"])  # type: ignore[untyped-decorator]
def read_out(  # type: ignore[no-untyped-def]
    value,
    value_row,
    value_token,
    value_head,
    value_dim,
    key,
    key_row,
    key_token,
    key_group,
    key_dim,
    query,
    query_row,
    query_token,
    query_group,
    query_dim,
    total,
    before,
    output,
    length,
    SHARED: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
):
    """Program (chunk, head, row): output [B, T, H, D] of the chunk's tokens, from each other and from the state before."""
    chunk, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    heads = tl.num_programs(1)
    unit = (row.to(tl.int64) * tl.num_programs(0) + chunk) * heads + head
    place = tl.arange(0, BLOCK_TOKENS)
    token = chunk * BLOCK_TOKENS + place
    sums = tl.load(total + unit * BLOCK_TOKENS + place)
    dim = tl.arange(0, BLOCK_DIM)
    weights = tl.zeros((BLOCK_TOKENS, BLOCK_TOKENS), tl.float32)
    found = tl.zeros((BLOCK_TOKENS, BLOCK_DIM), tl.float32)
    for start in range(0, WIDTH, BLOCK_WIDTH):
        width = start + tl.arange(0, BLOCK_WIDTH)
        keys = _read(key, row, token, head // SHARED, width, length, key_row, key_token, key_group, key_dim, WIDTH)
        queries = _read(query, row, token, head // SHARED, width, length, query_row, query_token, query_group, query_dim, WIDTH)
        places = before + (unit * DIM + dim[:, None]) * WIDTH + width[None, :]
        states = tl.load(places, mask=(dim < DIM)[:, None] & (width < WIDTH)[None, :], other=0.0)
        weights = tl.dot(queries, tl.trans(keys), weights, input_precision="tf32x3")
        found = tl.dot(queries, tl.trans(states), found, input_precision="tf32x3")
    between = (sums[:, None] - sums[None, :]).to(tl.float32)
    weights *= tl.exp(tl.where(place[:, None] >= place[None, :], between, float("-inf")))
    values = _read(value, row, token, head, dim, length, value_row, value_token, value_head, value_dim, DIM)
    found = tl.dot(weights, values, found * tl.exp(sums.to(tl.float32))[:, None], input_precision="tf32x3")
    there = output + ((row.to(tl.int64) * length + token)[:, None] * heads + head) * DIM + dim[None, :]
    tl.store(there, found, mask=(token < length)[:, None] & (dim < DIM)[None, :])


def ssd_scan(value: Tensor, log_decay: Tensor, key: Tensor, query: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Arguments and results as `naive.ssd_scan`'s, of up to float32; no gradient flows through it."""
    batch, length, heads, dim = value.shape
    groups, width = key.shape[2:]
    output = torch.empty(batch, length, heads, dim, dtype=torch.float32, device=value.device)
    last = torch.empty(batch, heads, dim, width, dtype=torch.float32, device=value.device)
    chunks = triton.cdiv(length, CHUNK)
    total = torch.unflatten(F.pad(log_decay.double(), [0, 0, 0, chunks * CHUNK - length]), 1, (chunks, CHUNK)).cumsum(2)
    total = total.transpose(2, 3).contiguous()  # [B, C, H, c]; beyond the end nothing fades
    added = torch.empty(batch, chunks, heads, dim, width, dtype=torch.float32, device=value.device)
    begin = None if state is None else state.contiguous()
    sizes = {
        "SHARED": heads // groups,
        "DIM": dim,
        "WIDTH": width,
        "BLOCK_TOKENS": CHUNK,
        "BLOCK_DIM": max(16, triton.next_power_of_2(dim)),
    }
    wide = max(16, triton.next_power_of_2(width))
    values, keys, queries = ((part, *part.stride()) for part in (value, key, query))
    if chunks:
        add_up[(chunks, heads, batch)](*values, *keys, total, added, length, **sizes, BLOCK_WIDTH=wide, num_warps=8)
    blocks = triton.cdiv(dim * width, _CARRIED)
    carry[(blocks, heads, batch)](
        added, begin, total, last, chunks, BEGINS=begin is not None, SIZE=dim * width, BLOCK_TOKENS=CHUNK, BLOCK=_CARRIED
    )
    if chunks:
        read_out[(chunks, heads, batch)](
            *values, *keys, *queries, total, added, output, length, **sizes, BLOCK_WIDTH=min(wide, WIDTH_STEP), num_warps=8
        )
    return output, last
