"""The kernel: a block of rows (columns × the query heads of one key-value head) over bracket, own memories and context."""

import triton
import triton.language as tl

from kmem.kernels.memory_attention.triton_slots import read_slots
from kmem.kernels.memory_attention.triton_softmax import absorb, weighted


@triton.jit  # type: ignore[untyped-decorator]
def read_rows(rows, number, exists, stride_row, stride_dim, DIM: tl.constexpr, BLOCK_DIM: tl.constexpr):  # type: ignore[no-untyped-def]
    """[n, BLOCK_DIM] of rows `number` [n]; 0 where not `exists`, which is never read."""
    dim = tl.arange(0, BLOCK_DIM)
    places = rows + number.to(tl.int64)[:, None] * stride_row + dim[None, :] * stride_dim
    return tl.load(places, mask=exists[:, None] & (dim < DIM)[None, :], other=0.0)


@triton.jit
def seen_keys(rows, inside, number, exists, stride_key):  # type: ignore[no-untyped-def]
    """[m, n] whether the mask's rows [m] see the keys `number` [n]."""
    places = rows[:, None] + number.to(tl.int64)[None, :] * stride_key
    return tl.load(places, mask=inside[:, None] & exists[None, :], other=0) != 0


@triton.jit  # type: ignore[untyped-decorator]
def trimmed(rows, inside, first, last, stride_key, BLOCK_KEYS: tl.constexpr):  # type: ignore[no-untyped-def]
    """`first` and `last` less the blocks of keys at both ends that no row sees: what is above the diagonal, and left padding."""
    found = 0
    while (first < last) & (found == 0):
        begin = first + (last - first - 1) // BLOCK_KEYS * BLOCK_KEYS
        number = begin + tl.arange(0, BLOCK_KEYS)
        found = tl.max(tl.max(seen_keys(rows, inside, number, number < last, stride_key).to(tl.int32), 1), 0)
        last = tl.where(found == 0, begin, last)
    found = 0
    while (first < last) & (found == 0):
        number = first + tl.arange(0, BLOCK_KEYS)
        found = tl.max(tl.max(seen_keys(rows, inside, number, number < last, stride_key).to(tl.int32), 1), 0)
        first = tl.where(found == 0, first + BLOCK_KEYS, first)
    return first, last


@triton.jit(do_not_specialize=["length", "keys", "parts", "splits", "memory_splits", "split_memories", "split_keys"])  # type: ignore[untyped-decorator]
def attend(  # type: ignore[no-untyped-def]
    query,
    query_row,
    query_head,
    query_column,
    query_dim,
    key,
    key_row,
    key_head,
    key_number,
    key_dim,
    value,
    value_row,
    value_head,
    value_number,
    value_dim,
    mask,
    mask_row,
    mask_column,
    mask_key,
    bracket_key,
    bracket_value,
    bracket,
    slot_key,
    slot_key_place,
    slot_key_slot,
    slot_key_dim,
    slot_value,
    slot_value_place,
    slot_value_slot,
    slot_value_dim,
    table,
    table_fields,
    key_sets,
    value_sets,
    filled,
    filled_place,
    filled_slot,
    head_starts,
    resident,
    owned,
    most,
    work,
    output,
    mass,
    tops,
    norms,
    totals,
    remembered,
    length,
    keys,
    parts,
    splits,
    memory_splits,
    split_memories,
    split_keys,
    scaling,
    softcap,
    GROUP: tl.constexpr,
    DIM: tl.constexpr,
    MASKED: tl.constexpr,
    TRIMMED: tl.constexpr,
    CAPPED: tl.constexpr,
    WHOLE: tl.constexpr,
    CODEC: tl.constexpr,
    FIELDS: tl.constexpr,
    CODE_BYTES: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_BRACKET: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    BLOCK_MEMORIES: tl.constexpr,
):
    """Program (work item, key-value head, split). WHOLE: one split does all and writes output [B, q, Q, D] and mass [C, parts, H, R].

    Else splits 0 to memory_splits − 1 read split_memories memories each, the first of them the bracket too, and the others split_keys keys
    each; tops, norms [W, H, splits, rows], totals [.., rows, D] and remembered [W, H, memory_splits, rows, BLOCK_MEMORIES] go to `merge`.
    """
    item, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    heads = tl.num_programs(1)
    row = tl.load(work + 5 * item).to(tl.int64)
    first = tl.load(work + 5 * item + 1)
    last = tl.load(work + 5 * item + 2)
    segment = tl.load(work + 5 * item + 3)
    part = tl.load(work + 5 * item + 4)
    packed = part * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    column = first + packed // GROUP
    inside = column < last
    own_head = head * GROUP + packed % GROUP
    dim = tl.arange(0, BLOCK_DIM)
    in_row = inside[:, None] & (dim < DIM)[None, :]
    places = query + row * query_row + own_head.to(tl.int64) * query_head + column.to(tl.int64) * query_column
    queries = tl.load(places[:, None] + dim[None, :] * query_dim, mask=in_row, other=0.0)

    top = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
    norm = tl.zeros((BLOCK_ROWS,), tl.float32)
    total = tl.zeros((BLOCK_ROWS, BLOCK_DIM), tl.float32)
    on_memories = tl.zeros((BLOCK_ROWS, BLOCK_MEMORIES), tl.float32)

    memories = tl.load(owned + segment, mask=segment >= 0, other=0)
    before = tl.where((memories > 0) & (split == 0), bracket, 0)
    for start in range(0, before, BLOCK_BRACKET):
        number = start + tl.arange(0, BLOCK_BRACKET)
        exists = number < before
        constant = head.to(tl.int64) * bracket * DIM
        block_key = read_rows(bracket_key + constant, number, exists, DIM, 1, DIM, BLOCK_DIM)
        block_value = read_rows(bracket_value + constant, number, exists, DIM, 1, DIM, BLOCK_DIM)
        top, norm, total, _, _ = absorb(queries, block_key, block_value, exists[None, :], top, norm, total, scaling, softcap, CAPPED)

    slots_first = tl.load(head_starts + head)
    budget = tl.load(head_starts + head + 1) - slots_first
    memory_first = split * split_memories  # past every memory where the split is one of the context's
    memory_last = tl.minimum(memories, memory_first + split_memories)
    for start in range(memory_first * budget, memory_last * budget, BLOCK_KEYS):
        number = start + tl.arange(0, BLOCK_KEYS)
        exists = number < memory_last * budget
        memory = number // budget
        slot = slots_first + number - memory * budget
        place = tl.load(resident + segment.to(tl.int64) * most + memory, mask=exists, other=0)
        there = filled + place * filled_place + slot.to(tl.int64) * filled_slot
        seen = tl.load(there, mask=exists, other=0) != 0
        block_key = read_slots(
            slot_key, place, slot, seen, slot_key_place, slot_key_slot, slot_key_dim, table, table_fields, key_sets,
            DIM, BLOCK_DIM, CODEC, FIELDS, CODE_BYTES,
        )  # fmt: skip
        block_value = read_slots(
            slot_value, place, slot, seen, slot_value_place, slot_value_slot, slot_value_dim, table, table_fields, value_sets,
            DIM, BLOCK_DIM, CODEC, FIELDS, CODE_BYTES,
        )  # fmt: skip
        top, norm, total, weights, rescale = absorb(
            queries, block_key, block_value, seen[None, :], top, norm, total, scaling, softcap, CAPPED
        )
        of_memory = (memory - memory_first)[:, None] == tl.arange(0, BLOCK_MEMORIES)[None, :]
        chosen = of_memory.to(tl.float32).to(block_value.dtype)  # one 1 a slot
        on_memories = weighted(weights, chosen, on_memories * rescale[:, None], queries.dtype == tl.float32)
    top_of_memories = top

    if WHOLE:
        context_first = 0
        context_last = keys
    else:
        context_first = tl.maximum(split - memory_splits, 0) * split_keys
        context_last = tl.where(split < memory_splits, context_first, tl.minimum(keys, context_first + split_keys))
    if MASKED:
        sight = mask + row * mask_row + column.to(tl.int64) * mask_column
        if TRIMMED:
            context_first, context_last = trimmed(sight, inside, context_first, context_last, mask_key, BLOCK_KEYS)
    else:
        context_last = tl.minimum(context_last, tl.max(tl.where(inside, column, 0), 0) + 1 + keys - length)
    key_base = key + row * key_row + head.to(tl.int64) * key_head
    value_base = value + row * value_row + head.to(tl.int64) * value_head
    for start in range(context_first, context_last, BLOCK_KEYS):
        number = start + tl.arange(0, BLOCK_KEYS)
        exists = number < context_last
        block_key = read_rows(key_base, number, exists, key_number, key_dim, DIM, BLOCK_DIM)
        block_value = read_rows(value_base, number, exists, value_number, value_dim, DIM, BLOCK_DIM)
        if MASKED:
            visible = seen_keys(sight, inside, number, exists, mask_key)
        else:
            visible = exists[None, :] & (number[None, :] <= column[:, None] + (keys - length))
        top, norm, total, _, _ = absorb(queries, block_key, block_value, visible, top, norm, total, scaling, softcap, CAPPED)

    name = tl.arange(0, BLOCK_MEMORIES)
    if WHOLE:
        share = 1.0 / tl.where(norm > 0, norm, 1.0)  # a row that sees nothing gets zeros
        query_heads = heads * GROUP
        places = output + ((row * length + column) * query_heads + own_head) * DIM
        tl.store(places[:, None] + dim[None, :], total * share[:, None], mask=in_row)
        since = tl.where(inside, tl.exp2(top_of_memories - tl.where(norm > 0, top, 0.0)) * share, 0.0)
        on_segment = tl.sum(on_memories * since[:, None], 0)
        into = mass + ((segment.to(tl.int64) * parts + part) * heads + head) * most
        tl.store(into + name, on_segment, mask=name < tl.where(segment < 0, 0, most))
    else:
        scratch = ((item.to(tl.int64) * heads + head) * splits + split) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        tl.store(tops + scratch, top)
        tl.store(norms + scratch, norm)
        tl.store(totals + scratch[:, None] * DIM + dim[None, :], total, mask=in_row & (norm > 0)[:, None])
        local = ((item.to(tl.int64) * heads + head) * memory_splits + split) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
        filled_rows = ((column < tl.where(split < memory_splits, last, first)) & (norm > 0))[:, None]
        tl.store(remembered + local[:, None] * BLOCK_MEMORIES + name[None, :], on_memories, mask=filled_rows)
