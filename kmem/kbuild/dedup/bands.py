"""Locality-sensitive hashing: which texts share a band of their signatures, found by sorting, one band at a time.

Indyk and Motwani 1998; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, ch. 3. datasketch's MinHashLSH finds the same texts,
with a dictionary for each band.
"""

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kmem.jit import compiled

MISSED, IN_VAIN = 0.9, 0.1
"""What a pair that is not found costs, and one that is compared in vain: comparing is cheap and decides, so few may be missed."""
BLOCK_TEXTS = 1 << 18
"""Texts whose signatures are looked at before they may be let go."""
SORTED_TEXTS = 1 << 23
"""Hashes that are sorted at a time: those of a range, of which there are as many as it takes."""
_STEPS = 512
_NONE = -1


@cache
def bands_and_rows(threshold: float, permutations: int) -> tuple[int, int]:
    """(bands, rows): the cut of a signature for which pairs are missed above the threshold and found below it at least cost.

    Two texts of similarity s share one of b bands of r rows with probability 1 − (1 − sʳ)ᵇ, integrated over s: datasketch's choice
    for `weights` IN_VAIN, MISSED.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_STEPS)
    below, above = threshold * (nodes + 1) / 2, threshold + (1 - threshold) * (nodes + 1) / 2
    best, least = (1, 1), np.inf
    for bands in range(1, permutations + 1):
        for rows in range(1, permutations // bands + 1):
            found = 1 - (1 - below**rows) ** bands
            missed = (1 - above**rows) ** bands
            cost = IN_VAIN * float(weights @ found) * threshold / 2 + MISSED * float(weights @ missed) * (1 - threshold) / 2
            if cost < least:
                best, least = (bands, rows), cost
    return best


def earlier(
    minhash: NDArray[np.uint8],
    texts: NDArray[np.int32],
    band: int,
    rows: int,
    looked: Callable[[], None] | None = None,
    keys: NDArray[np.uint64] | None = None,
) -> NDArray[np.int32]:
    """[len(texts)] for each of some texts, in ascending order, the last one before it with the same band; −1 where there is none.

    minhash [N, permutations], texts: rows of it; the result holds places in `texts`. looked: called after each `BLOCK_TEXTS`. keys:
    [len(texts)], written over.
    """
    keys = np.empty(len(texts), np.uint64) if keys is None else keys
    for start in range(0, len(texts), BLOCK_TEXTS):
        block = slice(start, start + BLOCK_TEXTS)
        keys[block] = _keys(minhash, texts[block], band * rows, rows)
        if looked is not None:
            looked()
    before = np.full(len(texts), _NONE, np.int32)
    for places in ranges(keys):
        own = keys[places]
        order = np.argsort(own, kind="stable")  # stable: within a band, ascending
        same = np.flatnonzero(own[order[1:]] == own[order[:-1]])
        before[places[order[same + 1]]] = places[order[same]]
        if looked is not None:
            looked()
    return before


def ranges(keys: NDArray[np.uint64]) -> Iterator[NDArray[np.int32]]:
    """Places in `keys` [N], ascending, of those in one range of values after another: about `SORTED_TEXTS` each, as hashes are spread."""
    count = max(1, -(-len(keys) // SORTED_TEXTS))
    for number in range(count):
        least, most = (np.uint64((number + step << 64) // count - step) for step in (0, 1))
        found = [
            (np.flatnonzero((keys[start : start + BLOCK_TEXTS] >= least) & (keys[start : start + BLOCK_TEXTS] <= most)) + start).astype(
                np.int32
            )
            for start in range(0, len(keys), BLOCK_TEXTS)
        ]
        if found:
            yield np.concatenate(found)


@compiled
def _keys(minhash, texts, first, rows):  # type: ignore[no-untyped-def]  # numba compiles for the types of a call
    """[len(texts)] uint64: a hash of each text's values `first` to `first + rows`."""
    keys = np.empty(len(texts), np.uint64)
    for index in range(len(texts)):
        key = np.uint64(first + 1)
        for row in range(first, first + rows):
            key = (key ^ np.uint64(minhash[texts[index], row])) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(32)
        keys[index] = key
    return keys
