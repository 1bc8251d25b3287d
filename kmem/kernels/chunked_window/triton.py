"""The same attention on a GPU: a program reads stored, fading and window keys where they lie, and only those its chunk can see."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kmem.kernels.chunked_window.layout import Attended, Eidetic, KeyValue, Window, require_reach
from kmem.kernels.memory_attention.triton_attend import read_rows
from kmem.kernels.memory_attention.triton_softmax import LOG2_E, absorb


@triton.jit  # type: ignore[untyped-decorator]
def _span(  # type: ignore[no-untyped-def]  # Triton reads annotations as types of its own
    queries,
    key,
    key_number,
    key_dim,
    value,
    value_number,
    value_dim,
    low,
    high,
    least,
    beyond,
    begin,
    top,
    norm,
    total,
    scaling,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
):
    """Keys at positions low … high − 1, of which a row sees least ≤ position < beyond [m]; the tensors' first is at position `begin`."""
    for start in range(low, high, BLOCK_KEYS):
        place = start + tl.arange(0, BLOCK_KEYS)
        exists = place < high
        keys = read_rows(key, place - begin, exists, key_number, key_dim, DIM, BLOCK_DIM)
        values = read_rows(value, place - begin, exists, value_number, value_dim, DIM, BLOCK_DIM)
        visible = exists[None, :] & (place[None, :] >= least[:, None]) & (place[None, :] < beyond[:, None])
        top, norm, total, _, _ = absorb(queries, keys, values, visible, top, norm, total, scaling, 0.0, False)
    return top, norm, total


@triton.jit(do_not_specialize=["past", "end", "near_begin", "fading_begin"])  # type: ignore[untyped-decorator]
def attend_chunk(  # type: ignore[no-untyped-def]
    query,
    query_row,
    query_head,
    query_column,
    query_dim,
    near_key,
    near_key_row,
    near_key_head,
    near_key_number,
    near_key_dim,
    near_value,
    near_value_row,
    near_value_head,
    near_value_number,
    near_value_dim,
    fading_key,
    fading_key_row,
    fading_key_head,
    fading_key_number,
    fading_key_dim,
    fading_value,
    fading_value_row,
    fading_value_head,
    fading_value_number,
    fading_value_dim,
    stored_key,
    stored_key_row,
    stored_key_head,
    stored_key_chunk,
    stored_key_number,
    stored_key_dim,
    stored_value,
    stored_value_row,
    stored_value_head,
    stored_value_chunk,
    stored_value_number,
    stored_value_dim,
    filled,
    filled_row,
    filled_chunk,
    filled_number,
    output,
    lse,
    stored,
    past,
    end,
    near_begin,
    fading_begin,
    scaling,
    CHUNK: tl.constexpr,
    KEPT: tl.constexpr,
    WIDTH: tl.constexpr,
    FADING: tl.constexpr,
    SLIDING: tl.constexpr,
    STORES: tl.constexpr,
    GROUP: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """Program (block of a chunk's rows, which are columns × query heads; key-value head; batch row) → output [B, Q, T, D], lse [B, Q, T].

    KEPT: tokens of the window before a chunk.
    """
    parts = (CHUNK * GROUP + BLOCK_ROWS - 1) // BLOCK_ROWS
    index, part = tl.program_id(0) // parts, tl.program_id(0) % parts
    head, row = tl.program_id(1), tl.program_id(2).to(tl.int64)
    heads, length = tl.num_programs(1), end - past
    chunk = past // CHUNK + index
    packed = part * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    position = chunk * CHUNK + packed // GROUP
    inside = (packed < CHUNK * GROUP) & (position >= past) & (position < end)
    own_head = (head * GROUP + packed % GROUP).to(tl.int64)
    column = (position - past).to(tl.int64)
    dim = tl.arange(0, BLOCK_DIM)
    in_row = inside[:, None] & (dim < DIM)[None, :]
    places = query + row * query_row + own_head * query_head + column * query_column
    queries = tl.load(places[:, None] + dim[None, :] * query_dim, mask=in_row, other=0.0)

    top = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
    norm = tl.zeros((BLOCK_ROWS,), tl.float32)
    total = tl.zeros((BLOCK_ROWS, BLOCK_DIM), tl.float32)

    if STORES:
        key_base = stored_key + row * stored_key_row + head.to(tl.int64) * stored_key_head + index.to(tl.int64) * stored_key_chunk
        value_base = stored_value + row * stored_value_row + head.to(tl.int64) * stored_value_head
        value_base += index.to(tl.int64) * stored_value_chunk
        flags = filled + row * filled_row + index.to(tl.int64) * filled_chunk
        for start in range(0, stored, BLOCK_KEYS):
            number = start + tl.arange(0, BLOCK_KEYS)
            seen = tl.load(flags + number * filled_number, mask=number < stored, other=0) != 0
            keys = read_rows(key_base, number, seen, stored_key_number, stored_key_dim, DIM, BLOCK_DIM)
            values = read_rows(value_base, number, seen, stored_value_number, stored_value_dim, DIM, BLOCK_DIM)
            top, norm, total, _, _ = absorb(queries, keys, values, seen[None, :], top, norm, total, scaling, 0.0, False)

    earliest = tl.min(tl.where(inside, position, 2147483647), 0)
    latest = tl.max(tl.where(inside, position, -1), 0)
    if SLIDING:
        first = position - WIDTH + 1
        first_of_all, first_of_last = earliest - WIDTH + 1, latest - WIDTH + 1
    else:
        first = position * 0 + chunk * CHUNK - KEPT
        first_of_all = chunk * CHUNK - KEPT
        first_of_last = first_of_all
    if FADING > 0:
        top, norm, total = _span(
            queries,
            fading_key + row * fading_key_row + head.to(tl.int64) * fading_key_head, fading_key_number, fading_key_dim,
            fading_value + row * fading_value_row + head.to(tl.int64) * fading_value_head, fading_value_number, fading_value_dim,
            tl.maximum(first_of_all - FADING, 0), tl.where(latest < 0, 0, first_of_last), first - FADING, first, fading_begin,
            top, norm, total, scaling, DIM, BLOCK_DIM, BLOCK_KEYS,
        )  # fmt: skip
    top, norm, total = _span(
        queries,
        near_key + row * near_key_row + head.to(tl.int64) * near_key_head, near_key_number, near_key_dim,
        near_value + row * near_value_row + head.to(tl.int64) * near_value_head, near_value_number, near_value_dim,
        tl.maximum(first_of_all, 0), latest + 1, first, position + 1, near_begin,
        top, norm, total, scaling, DIM, BLOCK_DIM, BLOCK_KEYS,
    )  # fmt: skip

    share = 1.0 / tl.where(norm > 0, norm, 1.0)
    line = (row * heads * GROUP + own_head) * length + column
    tl.store(output + line[:, None] * DIM + dim[None, :], total * share[:, None], mask=in_row)
    tl.store(lse + line, (top + tl.log2(tl.where(norm > 0, norm, 1.0))) / LOG2_E, mask=inside)


def attend(
    query: Tensor,
    near: KeyValue,
    window: Window,
    *,
    end: int,
    scaling: float,
    fading: KeyValue | None = None,
    eidetic: Eidetic | None = None,
    lse: bool = False,
) -> Attended:
    """Arguments and results as `attend.attend`'s, of up to float32; no gradient flows through it. Raises ConfigError as that does."""
    batch, query_heads, length, dim = query.shape
    heads, past = near.key.shape[1], end - length
    require_reach(near.key.shape[2], window.kept(past), end, "window's")
    if fading is not None:
        require_reach(fading.key.shape[2], window.kept_fading(past), end, "fading")
    output = torch.empty(query.shape, dtype=torch.float32 if lse else query.dtype, device=query.device)
    sums = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
    rows, keys, warps = blocks_for(window.chunk * query_heads // heads, dim, query.element_size())
    parts, chunks = triton.cdiv(window.chunk * query_heads // heads, rows), len(window.chunks(past, end))
    faded = fading or near
    stored = eidetic or Eidetic(near.key[:, :, None], near.value[:, :, None], near.key.new_zeros(1, 1, 0, dtype=torch.bool))
    filled = stored.filled.view(torch.uint8)
    attend_chunk[(parts * chunks, heads, batch)](
        query, *query.stride(), near.key, *near.key.stride(), near.value, *near.value.stride(),
        faded.key, *faded.key.stride(), faded.value, *faded.value.stride(),
        stored.key, *stored.key.stride(), stored.value, *stored.value.stride(), filled, *filled.stride(),
        output, sums, filled.shape[2], past, end, end - near.key.shape[2], end - faded.key.shape[2], scaling,
        CHUNK=window.chunk, KEPT=window.width - window.chunk, WIDTH=window.width, FADING=0 if fading is None else window.fading,
        SLIDING=window.sliding, STORES=eidetic is not None, GROUP=query_heads // heads, DIM=dim,
        BLOCK_ROWS=rows, BLOCK_KEYS=keys, BLOCK_DIM=max(16, triton.next_power_of_2(dim)), num_warps=warps, num_stages=2,
    )  # fmt: skip
    return Attended(output, sums if lse else None)


def blocks_for(rows: int, dim: int, element_bytes: int) -> tuple[int, int, int]:
    """Rows and keys of a block, and warps, for chunks of `rows` rows; chosen by what compiles for sm_90 without spilling much. Unmeasured:
    no GPU was lent.
    """
    swift = element_bytes == 2 and dim <= 128
    size = min(64 if dim <= 128 else 16, max(16, triton.next_power_of_2(rows)))
    return size, 64 if swift and size == 64 else 32, 4 if swift else 8
