"""Eq. 6 for all windows of the text at once: one pass over |reference| × |text| instead of one a window."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kmem.errors import WrongTypeError
from kmem.jit import compiled
from kmem.leak.naive import SPAN

Tokens = Sequence[int] | Sequence[str] | NDArray[np.integer] | NDArray[np.str_]
"""Token ids, or words."""


def overlap(reference: Tokens, text: Tokens) -> float:
    """The share of the reference, 0 to 1, that the text has, in the same order and within SPAN × |reference| tokens; of nothing, 0.

    reference [n] and text [m]: both token ids, or both words. Exact, as `naive.naive_overlap`.
    Raises WrongTypeError for anything else, a plain string included: its letters are no words.
    """
    if not len(reference) or not len(text):
        return 0.0
    ours, theirs = _numbers(reference, text)
    width = min(SPAN * len(ours), len(theirs))
    return int(_longest(ours, theirs, width)) / len(ours)


def _numbers(reference: Tokens, text: Tokens) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both as numbers that are equal where the tokens are."""
    ours, theirs = np.asarray(reference), np.asarray(text)
    kinds = {ours.dtype.kind, theirs.dtype.kind}
    if ours.ndim != 1 or theirs.ndim != 1 or not (kinds <= {"i", "u"} or kinds == {"U"}):
        raise WrongTypeError(
            f"overlap compares two lists of token ids or two lists of words, not {reference!r:.40} with {text!r:.40}: "
            f"tokenise both, or split them with kmem.words.words."
        )
    if kinds == {"U"}:
        _, numbers = np.unique(np.concatenate([ours, theirs]), return_inverse=True)
        ours, theirs = numbers[: len(ours)], numbers[len(ours) :]
    return ours.astype(np.int64), theirs.astype(np.int64)


@compiled
def _longest(reference, text, width):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    """The longest common subsequence of the reference with any window of `width` tokens of the text.

    Semi-local LCS: `reach[j]` ends as the one number such that token j lengthens the subsequence of every window that ends at j or later
    and begins after reach[j], at j at the latest, and of no other. A cell costs a comparison and perhaps an exchange.
    """
    reach = np.arange(len(text))
    for wanted in reference:
        carried = -1
        for place in range(len(text)):
            here = reach[place]
            exchange = text[place] == wanted or here < carried
            reach[place] = carried if exchange else here
            carried = here if exchange else carried
    # Of the windows that begin at 0, 1, …, token j adds 1 to those from `first` to `last`.
    steps = np.zeros(len(text) - width + 2, np.int64)
    for place in range(len(text)):
        first = max(reach[place] + 1, place - width + 1)
        last = min(place, len(text) - width)
        if first <= last:
            steps[first] += 1
            steps[last + 1] -= 1
    best = total = 0
    for step in steps:
        total += step
        best = max(best, total)
    return best
