"""What numba compiles for `step`: attention of one query column at a time, head by head, on numpy arrays.

Sums may be reordered; infinities are not assumed away.
"""

import numpy as np

from kmem.jit import compiled

_ALL = np.zeros(0, dtype=np.bool_)
ALL_VISIBLE = np.zeros((0, 0), dtype=np.bool_)
"""In place of a mask: no key is hidden."""


@compiled
def _scores(query, keys, scores):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    """Products of a group's queries [G, D] with keys [n, D] → scores [G, n]; four keys at a time, so that a query is loaded once."""
    zero = query.dtype.type(0)
    fours = len(keys) - len(keys) % 4
    for column in range(0, fours, 4):
        for member in range(query.shape[0]):
            first = second = third = fourth = zero
            for place in range(query.shape[1]):
                own = query[member, place]
                first += own * keys[column, place]
                second += own * keys[column + 1, place]
                third += own * keys[column + 2, place]
                fourth += own * keys[column + 3, place]
            scores[member, column], scores[member, column + 1] = first, second
            scores[member, column + 2], scores[member, column + 3] = third, fourth
    for column in range(fours, len(keys)):
        for member in range(query.shape[0]):
            total = zero
            for place in range(query.shape[1]):
                total += query[member, place] * keys[column, place]
            scores[member, column] = total


@compiled
def _add(output, values, weights):  # type: ignore[no-untyped-def]
    """Add values [n, D] to each query's output [G, D] by their weights [G, n]; four values at a time, as above."""
    fours = len(values) - len(values) % 4
    for column in range(0, fours, 4):
        for member in range(output.shape[0]):
            first, second = weights[member, column], weights[member, column + 1]
            third, fourth = weights[member, column + 2], weights[member, column + 3]
            for place in range(output.shape[1]):
                output[member, place] += (
                    first * values[column, place]
                    + second * values[column + 1, place]
                    + third * values[column + 2, place]
                    + fourth * values[column + 3, place]
                )
    for column in range(fours, len(values)):
        for member in range(output.shape[0]):
            weight = weights[member, column]
            for place in range(output.shape[1]):
                output[member, place] += weight * values[column, place]


@compiled
def _scale(scores, scaling, softcap):  # type: ignore[no-untyped-def]
    """Scores [n] as the model has them: scaled, and capped where softcap is above 0."""
    for column in range(len(scores)):
        scores[column] *= scaling
        if softcap > 0:
            scores[column] = softcap * np.tanh(scores[column] / softcap)


@compiled
def _normalise(scores, lse, output):  # type: ignore[no-untyped-def]
    """Scores [n] become probabilities beside what was seen before with log-sum-exp `lse`, of which `output` [D] keeps its share.

    Where that is nothing, `output` may hold anything and becomes zero.
    """
    top = lse
    for column in range(len(scores)):
        top = max(top, scores[column])
    if lse == -np.inf:
        output[:] = 0
    if top == -np.inf:
        scores[:] = 0
        return
    before = np.exp(lse - top)
    total = before
    for column in range(len(scores)):
        scores[column] = np.exp(scores[column] - top)
        total += scores[column]
    for column in range(len(scores)):
        scores[column] /= total
    for place in range(len(output)):
        output[place] *= before / total


@compiled
def _run(filled, start, last):  # type: ignore[no-untyped-def]
    """First and last + 1 of the next unbroken run of filled slots from `start` on; both `last` where there is none."""
    while start < last and not filled[start]:
        start += 1
    stop = start
    while stop < last and filled[stop]:
        stop += 1
    return start, stop


@compiled
def _block(slots, begin, start, stop, dim):  # type: ignore[no-untyped-def]
    """[stop − start, D] those slots of the memory whose numbers begin at `begin`."""
    return slots[begin + start * dim : begin + stop * dim].reshape(stop - start, dim)


@compiled
def _attend_head(  # type: ignore[no-untyped-def]
    query,
    key,
    value,
    visible,
    bracket_key,
    bracket_value,
    slot_key,
    slot_value,
    step,
    rows,
    filled,
    first,
    last,
    scaling,
    softcap,
    lse,
    output,
    mass,
    room,
):
    """`attend` for one row and key-value head; `room` [G, ≥ P + slots + n] takes the scores, in this order."""
    dim = query.shape[1]
    _scores(query, bracket_key, room[:, : len(bracket_key)])
    keys_at = len(bracket_key)
    for index in range(len(rows)):
        stop = first
        while rows[index] >= 0 and stop < last:
            start, stop = _run(filled[index], stop, last)
            _scores(query, _block(slot_key, rows[index] * step, start, stop, dim), room[:, keys_at : keys_at + stop - start])
            keys_at += stop - start
    end = keys_at + len(key)
    _scores(query, key, room[:, keys_at:end])
    for member in range(len(query)):
        scores = room[member, :end]
        _scale(scores, scaling, softcap)
        for column in range(len(visible)):
            if not visible[column]:
                scores[keys_at + column] = -np.inf
        _normalise(scores, lse[member], output[member])
    _add(output, bracket_value, room[:, : len(bracket_key)])
    at = len(bracket_key)
    for index in range(len(rows)):
        stop = first
        while rows[index] >= 0 and stop < last:
            start, stop = _run(filled[index], stop, last)
            shares = room[:, at : at + stop - start]
            _add(output, _block(slot_value, rows[index] * step, start, stop, dim), shares)
            mass[index] += shares.sum()
            at += stop - start
    _add(output, value, room[:, keys_at:end])


_NONE = np.zeros(0, dtype=np.int64)


@compiled
def attend(  # type: ignore[no-untyped-def]
    query,
    key,
    value,
    visible,
    bracket_key,
    bracket_value,
    slot_key,
    slot_value,
    step,
    rows,
    filled,
    head_starts,
    segment_of,
    scaling,
    softcap,
    lse,
    output,
    mass,
):
    """One softmax a query of query [B, H, G, D], over what its row's segment reads (see `indexed`) and key, value [B, H, n, D].

    visible [B, n], or empty where all keys are; segment_of [B], −1 for a row that reads nothing. `output` [B, H, G, D] holds what each
    query saw before, with log-sum-exp `lse` [B, H, G] (−∞: anything, for it saw nothing), and gets the whole; `mass` [C, R] is added to.
    """
    batch, heads, group, _ = query.shape
    widest = 0
    for head in range(heads):
        widest = max(widest, head_starts[head + 1] - head_starts[head])
    room = np.empty((group, bracket_key.shape[1] + widest * rows.shape[1] + key.shape[2]), dtype=query.dtype)
    for row in range(batch):
        segment = segment_of[row]
        seen = visible[row] if len(visible) > 0 else _ALL
        bracket = bracket_key.shape[1] if segment >= 0 else 0
        own = rows[segment] if segment >= 0 else _NONE
        for head in range(heads):
            _attend_head(
                query[row, head],
                key[row, head],
                value[row, head],
                seen,
                bracket_key[head, :bracket],
                bracket_value[head, :bracket],
                slot_key,
                slot_value,
                step,
                own,
                filled[max(segment, 0)],
                head_starts[head],
                head_starts[head + 1],
                scaling,
                softcap,
                lse[row, head],
                output[row, head],
                mass[max(segment, 0)],
                room,
            )
