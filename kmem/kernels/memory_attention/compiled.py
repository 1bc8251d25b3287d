"""What numba compiles for `step` and `prompt`: attention of one query column at a time, head by head, on numpy arrays.

Sums may be reordered; infinities are not assumed away. The compiled code is kept beside this file, or in NUMBA_CACHE_DIR.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numba
import numpy as np


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled once and kept on disk, or, where neither this folder nor the user's cache can be written, once a process.

    A disk that fills up, or a folder that goes away later, costs the keeping and nothing else.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp"}}
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no locator: nowhere to write
        compiled = numba.njit(**options)(function)
    kept = getattr(compiled, "_cache", None)  # nothing public lets numba pass over an OSError, except on Windows, where it does so here
    if kept is not None:
        kept._guard_against_spurious_io_errors = partial(suppress, OSError)
    return compiled


_ALL = np.zeros(0, dtype=np.bool_)
ALL_VISIBLE = np.zeros((0, 0), dtype=np.bool_)
"""In place of a mask: no key is hidden."""


@_compiled
def _scores(query, keys, scores):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    """Products of a group's queries [G, D] with keys [n, D] → scores [G, n]."""
    for column in range(keys.shape[0]):
        for member in range(query.shape[0]):
            total = query.dtype.type(0)
            for place in range(query.shape[1]):
                total += query[member, place] * keys[column, place]
            scores[member, column] = total


@_compiled
def _add(output, values, weights):  # type: ignore[no-untyped-def]
    """Add values [n, D] to each query's output [G, D] by their weights [G, n]."""
    for column in range(values.shape[0]):
        for member in range(output.shape[0]):
            weight = weights[member, column]
            for place in range(output.shape[1]):
                output[member, place] += weight * values[column, place]


@_compiled
def _scale(scores, scaling, softcap):  # type: ignore[no-untyped-def]
    """Scores [n] as the model has them: scaled, and capped where softcap is above 0."""
    for column in range(len(scores)):
        scores[column] *= scaling
        if softcap > 0:
            scores[column] = softcap * np.tanh(scores[column] / softcap)


@_compiled
def _normalise(scores, lse, output):  # type: ignore[no-untyped-def]
    """Scores [n] become probabilities beside what was seen before with log-sum-exp `lse`, of which `output` [D] keeps its share."""
    top = lse
    for column in range(len(scores)):
        top = max(top, scores[column])
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


@_compiled
def _attend_head(  # type: ignore[no-untyped-def]
    query, key, value, visible, bracket_key, bracket_value, slot_key, slot_value, slot_memory, scaling, softcap, lse, output, mass, room
):
    """`attend` for one row and key-value head; `room` [G, ≥ P + slots + n] takes the scores, in this order."""
    slots_at = len(bracket_key)
    keys_at = slots_at + len(slot_key)
    end = keys_at + len(key)
    _scores(query, bracket_key, room[:, :slots_at])
    _scores(query, slot_key, room[:, slots_at:keys_at])
    _scores(query, key, room[:, keys_at:end])
    for member in range(len(query)):
        scores = room[member, :end]
        _scale(scores, scaling, softcap)
        for column in range(len(visible)):
            if not visible[column]:
                scores[keys_at + column] = -np.inf
        _normalise(scores, lse[member], output[member])
        for column in range(len(slot_memory)):
            mass[slot_memory[column]] += scores[slots_at + column]
    _add(output, bracket_value, room[:, :slots_at])
    _add(output, slot_value, room[:, slots_at:keys_at])
    _add(output, value, room[:, keys_at:end])


@_compiled
def attend(  # type: ignore[no-untyped-def]
    query,
    key,
    value,
    visible,
    bracket_key,
    bracket_value,
    slot_key,
    slot_value,
    slot_memory,
    starts,
    active,
    segment_of,
    scaling,
    softcap,
    lse,
    output,
    mass,
):
    """One softmax a query of query [B, H, G, D], over what its row's segment reads (see `Ragged`) and key, value [B, H, n, D].

    Heads that are not `active` [H] are left alone.
    visible [B, n], or empty where all keys are; segment_of [B], −1 for a row that reads nothing. `output` [B, H, G, D] holds what each
    query saw before, with log-sum-exp `lse` [B, H, G], −∞ for nothing, and gets the whole; `mass` [C, R] is added to.
    """
    batch, heads, group, _ = query.shape
    segments = mass.shape[0]
    longest = 0
    for index in range(len(starts) - 1):
        longest = max(longest, starts[index + 1] - starts[index])
    room = np.empty((group, bracket_key.shape[1] + longest + key.shape[2]), dtype=query.dtype)
    for row in range(batch):
        segment = segment_of[row]
        seen = visible[row] if len(visible) > 0 else _ALL
        for head in range(heads):
            if not active[head]:
                continue
            first = last = bracket = 0
            if segment >= 0:
                first, last = starts[head * segments + segment], starts[head * segments + segment + 1]
                bracket = bracket_key.shape[1]
            _attend_head(
                query[row, head],
                key[row, head],
                value[row, head],
                seen,
                bracket_key[head, :bracket],
                bracket_value[head, :bracket],
                slot_key[first:last],
                slot_value[first:last],
                slot_memory[first:last],
                scaling,
                softcap,
                lse[row, head],
                output[row, head],
                mass[max(segment, 0)],
                room,
            )
