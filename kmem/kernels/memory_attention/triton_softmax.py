"""The online softmax that every block of keys goes through, in base 2 and float32, whatever types its operands have."""

import os

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
"""Triton's interpreter multiplies the bits of bfloat16 as whole numbers, so there such numbers are float32 when they are multiplied."""

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def products(query, keys):  # type: ignore[no-untyped-def]  # Triton reads annotations as types of its own
    """[m, n] query · key in float32. Of two different 16-bit types the tf32 product is exact."""
    if query.dtype == keys.dtype and not (INTERPRETED and query.dtype == tl.bfloat16):
        scores = tl.dot(query, tl.trans(keys), input_precision="ieee")
    elif query.dtype.primitive_bitwidth + keys.dtype.primitive_bitwidth == 32:
        scores = tl.dot(query.to(tl.float32), tl.trans(keys.to(tl.float32)), input_precision="tf32")
    else:
        scores = tl.dot(query.to(tl.float32), tl.trans(keys.to(tl.float32)), input_precision="ieee")
    return scores


@triton.jit  # type: ignore[untyped-decorator]
def weighted(weights, values, total, EXACT: tl.constexpr):  # type: ignore[no-untyped-def]
    """`total` + weights [m, n] float32 · values [n, d]; EXACT: in float32, else the weights are rounded to the values' type.

    Beside bfloat16 they go in two halves: rounded once, they alone would cost 1.6e-3.
    """
    if EXACT:
        total = tl.dot(weights, values.to(tl.float32), total, input_precision="ieee")
    elif values.dtype == tl.bfloat16:
        high = weights.to(tl.bfloat16)
        low = (weights - high.to(tl.float32)).to(tl.bfloat16)
        if INTERPRETED:
            total = tl.dot(high.to(tl.float32) + low.to(tl.float32), values.to(tl.float32), total)
        else:
            total = tl.dot(high, values, total)
            total = tl.dot(low, values, total)
    elif values.dtype == tl.float16:
        total = tl.dot(weights.to(tl.float16), values, total)
    else:
        total = tl.dot(weights, values, total, input_precision="ieee")
    return total


@triton.jit  # type: ignore[untyped-decorator]
def absorb(query, keys, values, visible, top, norm, total, scaling, softcap, CAPPED: tl.constexpr):  # type: ignore[no-untyped-def]
    """One block of keys and values [n, d], `visible` [m, n], into the running maximum, norm [m] and total [m, d].

    Returns them, then the block's weights [m, n] relative to the new maximum, and by what everything before was multiplied [m].
    """
    scores = products(query, keys) * scaling
    if CAPPED:
        falling = tl.exp2(tl.abs(scores) * (-2.0 * LOG2_E / softcap))
        tanh = (1.0 - falling) / (1.0 + falling)
        scores = tl.where(scores < 0, -tanh, tanh) * softcap
    scores = tl.where(visible, scores * LOG2_E, float("-inf"))
    higher = tl.maximum(top, tl.max(scores, 1))
    finite = tl.where(higher == float("-inf"), 0.0, higher)  # rows that have seen nothing yet
    weights = tl.exp2(scores - finite[:, None])
    rescale = tl.exp2(top - finite)
    norm = norm * rescale + tl.sum(weights, 1)
    total = weighted(weights, values, total * rescale[:, None], query.dtype == tl.float32)
    return higher, norm, total, weights, rescale
