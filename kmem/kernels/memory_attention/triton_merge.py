"""What the splits of a decode step found, put together by their log-sum-exp."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["length", "parts", "splits", "memory_splits", "split_memories"])  # type: ignore[untyped-decorator]
def merge(  # type: ignore[no-untyped-def]  # Triton reads annotations as types of its own
    work,
    output,
    mass,
    tops,
    norms,
    totals,
    remembered,
    most,
    length,
    parts,
    splits,
    memory_splits,
    split_memories,
    GROUP: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    BLOCK_MEMORIES: tl.constexpr,
):
    """Program (work item, key-value head); the arguments are `attend`'s."""
    item, head = tl.program_id(0), tl.program_id(1)
    heads = tl.num_programs(1)
    row = tl.load(work + 5 * item).to(tl.int64)
    first = tl.load(work + 5 * item + 1)
    last = tl.load(work + 5 * item + 2)
    segment = tl.load(work + 5 * item + 3)
    part = tl.load(work + 5 * item + 4)
    line = tl.arange(0, BLOCK_ROWS)
    packed = part * BLOCK_ROWS + line
    column = first + packed // GROUP
    inside = column < last
    own_head = head * GROUP + packed % GROUP
    dim = tl.arange(0, BLOCK_DIM)
    in_row = inside[:, None] & (dim < DIM)[None, :]
    unit = item.to(tl.int64) * heads + head

    top = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
    norm = tl.zeros((BLOCK_ROWS,), tl.float32)
    total = tl.zeros((BLOCK_ROWS, BLOCK_DIM), tl.float32)
    for split in range(splits):
        scratch = (unit * splits + split) * BLOCK_ROWS + line
        split_top = tl.load(tops + scratch)
        split_norm = tl.load(norms + scratch)
        found = tl.load(totals + scratch[:, None] * DIM + dim[None, :], mask=in_row & (split_norm > 0)[:, None], other=0.0)
        higher = tl.maximum(top, split_top)
        finite = tl.where(higher == float("-inf"), 0.0, higher)
        old, new = tl.exp2(top - finite), tl.exp2(split_top - finite)
        norm = norm * old + split_norm * new
        total = total * old[:, None] + found * new[:, None]
        top = higher

    top = tl.where(norm > 0, top, 0.0)
    share = 1.0 / tl.where(norm > 0, norm, 1.0)
    places = output + ((row * length + column) * (heads * GROUP) + own_head) * DIM
    tl.store(places[:, None] + dim[None, :], total * share[:, None], mask=in_row)

    name = tl.arange(0, BLOCK_MEMORIES)
    into = mass + ((segment.to(tl.int64) * parts + part) * heads + head) * most
    for split in range(memory_splits):
        scratch = (unit * splits + split) * BLOCK_ROWS + line
        some = inside & (tl.load(norms + scratch) > 0)
        since = tl.where(some, tl.exp2(tl.load(tops + scratch) - top) * share, 0.0)
        local = (unit * memory_splits + split) * BLOCK_ROWS + line
        found = tl.load(remembered + local[:, None] * BLOCK_MEMORIES + name[None, :], mask=some[:, None], other=0.0)
        memory = split * split_memories + name
        wanted = (name < split_memories) & (memory < tl.where(segment < 0, 0, most))
        tl.store(into + memory, tl.sum(found * since[:, None], 0), mask=wanted)
