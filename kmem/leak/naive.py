"""Eq. 6 as it is written: the longest common subsequence with every window of the text, each by its own table."""

from collections.abc import Hashable, Sequence

SPAN = 2
"""The matched span in the text is at most so many times the reference: words strewn over a long text are no copy."""


def longest_common(reference: Sequence[Hashable], text: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence of both, wherever its tokens lie."""
    row = [0] * (len(text) + 1)
    for wanted in reference:
        above = row
        row = [0]
        for place, token in enumerate(text):
            row.append(above[place] + 1 if token == wanted else max(above[place + 1], row[place]))
    return row[-1]


def naive_overlap(reference: Sequence[Hashable], text: Sequence[Hashable]) -> float:
    """The share of the reference, 0 to 1, that the text has, in the same order and within SPAN × |reference| tokens; of nothing, 0."""
    if not reference:
        return 0.0
    width = SPAN * len(reference)
    starts = range(max(1, len(text) - width + 1))
    return max(longest_common(reference, text[start : start + width]) for start in starts) / len(reference)
