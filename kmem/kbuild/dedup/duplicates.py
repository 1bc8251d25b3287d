"""Signatures of all partitions → which texts of each are copies of an earlier one, and of which."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem.errors import ConfigError
from kmem.kbuild.dedup.bands import bands_and_rows, earlier
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.dedup.resolve import resolve
from kmem.kbuild.dedup.signatures import Signatures

KEPT, EXACT, NEAR = 0, 1, 2
REASONS = {EXACT: "exact duplicate", NEAR: "near-duplicate"}


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Of the N texts of a partition: `of` [N] int64, the kept text that this one copies, counted over all partitions, −1 where it is kept;
    `reason` [N] uint8: KEPT, EXACT or NEAR.
    """

    of: NDArray[np.int64]
    reason: NDArray[np.uint8]

    @property
    def drop(self) -> NDArray[np.bool_]:
        """[N] whether the text goes."""
        return np.not_equal(self.reason, KEPT)

    def counts(self) -> Counter[str]:
        """How many go, by reason; only what happened."""
        found = {f"dropped: {name}": int(np.count_nonzero(self.reason == reason)) for reason, name in REASONS.items()}
        return Counter({name: count for name, count in found.items() if count})


def find_duplicates(parts: Sequence[Callable[[], Signatures]], config: DedupConfig) -> list[Duplicates]:
    """For each partition, its texts that go; `parts` give the signatures, in the order of the texts, and are called once.

    Of texts that are alike the first stays, whichever partition it is in; how the texts are divided changes nothing. Takes about 340 bytes
    a text at 128 permutations and the default threshold: two million texts in 0.7 GB.
    Raises ConfigError for signatures with another number of permutations than `config` has.
    """
    if not parts:
        return []
    sizes, all_ = _collected(parts, config)
    reason, of = np.zeros(len(all_), np.uint8), np.full(len(all_), -1, np.int64)
    if config.mode != "none":
        _exact(all_.exact, reason, of)
    if config.mode == "near":
        _near(all_, config, reason, of)
    bounds = np.cumsum(sizes)[:-1]
    return [Duplicates(of=own, reason=why) for own, why in zip(np.split(of, bounds), np.split(reason, bounds), strict=True)]


def _exact(hashes: NDArray[np.uint64], reason: NDArray[np.uint8], of: NDArray[np.int64]) -> None:
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: equal ones ascend
    new = np.ones(len(order), bool)
    new[1:] = (hashes[order[1:]] != hashes[order[:-1]]).any(axis=1)
    first = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    copies = order[~new]
    reason[copies], of[copies] = EXACT, first[~new]


def _near(all_: Signatures, config: DedupConfig, reason: NDArray[np.uint8], of: NDArray[np.int64]) -> None:
    texts = np.flatnonzero((reason == KEPT) & (all_.words >= config.min_words)).astype(np.int32)
    bands, rows = bands_and_rows(config.threshold, config.permutations)
    before = np.empty((bands, len(texts)), np.int32)
    for band in range(bands):
        before[band] = earlier(all_.minhash, texts, band, rows)
    kept = np.empty(len(texts), np.int32)
    least, retitled = (math.ceil(share * config.permutations) for share in (config.threshold, config.retitled_threshold))
    resolve(before, texts, all_.minhash, all_.title, all_.numbers, all_.others, least, retitled, kept)
    gone = kept >= 0
    reason[texts[gone]], of[texts[gone]] = NEAR, texts[kept[gone]]
    # The text that an exact copy repeats may itself be a near-duplicate.
    copies = np.flatnonzero(reason == EXACT)
    further = of[of[copies]]
    of[copies] = np.where(further >= 0, further, of[copies])


def _collected(parts: Sequence[Callable[[], Signatures]], config: DedupConfig) -> tuple[list[int], Signatures]:
    """(texts of each partition, all signatures); no partition's arrays are held beside the whole."""
    wanted = config.permutations if config.mode == "near" else 0
    sizes: list[int] = []
    columns: dict[str, list[NDArray[Any]]] = {field.name: [] for field in fields(Signatures)}
    for part in parts:
        signatures = part()
        if wanted and signatures.minhash.shape[1] != wanted:
            raise ConfigError(
                f"signatures of {signatures.minhash.shape[1]} permutations can't be compared at {wanted}: sign the texts again."
            )
        sizes.append(len(signatures))
        for name, arrays in columns.items():
            arrays.append(getattr(signatures, name))
    return sizes, Signatures(**{name: _joined(arrays) for name, arrays in columns.items()})


def _joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """One array of all, each let go as soon as it is copied."""
    joined = np.empty((sum(map(len, arrays)), *arrays[0].shape[1:]), arrays[0].dtype)
    end = len(joined)
    while arrays:
        array = arrays.pop()
        joined[end - len(array) : end] = array
        end -= len(array)
    return joined
