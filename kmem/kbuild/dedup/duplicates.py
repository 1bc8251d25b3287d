"""Signatures of all partitions → which texts of each are copies of an earlier one, and of which."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from kmem.errors import ConfigError
from kmem.kbuild.dedup.bands import BLOCK_TEXTS, bands_and_rows, earlier
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.dedup.resolve import resolve
from kmem.kbuild.dedup.signatures import Signatures
from kmem.kbuild.dedup.spill import Spill, spilling

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
    """For each partition, its texts that go; `parts` give the signatures, in the order of the texts, and are called twice.

    Of texts that are alike the first stays, whichever partition it is in; how the texts are divided changes nothing. Takes about 120 bytes
    a text in memory and, at 128 permutations and the default threshold, 256 in temporary files, which are mapped a part at a time (or in
    memory, where they are small): twenty million texts in 2.4 GB and 5 GB of disk.
    Raises ConfigError for signatures with another number of permutations than `config` has.
    """
    if not parts:
        return []
    with spilling() as spill:
        sizes, all_ = _collected(parts, config, spill)
        reason, of = np.zeros(len(all_), np.uint8), np.full(len(all_), -1, np.int64)
        if config.mode != "none":
            _exact(all_.exact, reason, of)
        if config.mode == "near":
            _near(all_, config, reason, of, spill)
    bounds = np.cumsum(sizes)[:-1]
    return [Duplicates(of=own, reason=why) for own, why in zip(np.split(of, bounds), np.split(reason, bounds), strict=True)]


def _exact(hashes: NDArray[np.uint64], reason: NDArray[np.uint8], of: NDArray[np.int64]) -> None:
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: equal ones ascend
    new = np.ones(len(order), bool)
    new[1:] = (hashes[order[1:]] != hashes[order[:-1]]).any(axis=1)
    first = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    copies = order[~new]
    reason[copies], of[copies] = EXACT, first[~new]


def _near(all_: Signatures, config: DedupConfig, reason: NDArray[np.uint8], of: NDArray[np.int64], spill: Spill) -> None:
    texts = np.flatnonzero((reason == KEPT) & (all_.words >= config.min_words)).astype(np.int32)
    bands, rows = bands_and_rows(config.threshold, config.permutations)
    before = spill.array((bands, len(texts)), np.int32)
    for band in range(bands):
        before[band] = earlier(all_.minhash, texts, band, rows, spill.let_go)
        spill.let_go()
    kept = np.empty(len(texts), np.int32)
    least, retitled = (math.ceil(share * config.permutations) for share in (config.threshold, config.retitled_threshold))
    for start in range(0, len(texts), BLOCK_TEXTS):
        end = min(start + BLOCK_TEXTS, len(texts))
        resolve(before, texts, all_.minhash, all_.title, all_.numbers, all_.others, least, retitled, kept, start, end)
        spill.let_go()
    gone = kept >= 0
    reason[texts[gone]], of[texts[gone]] = NEAR, texts[kept[gone]]
    # The text that an exact copy repeats may itself be a near-duplicate.
    copies = np.flatnonzero(reason == EXACT)
    further = of[of[copies]]
    of[copies] = np.where(further >= 0, further, of[copies])


def _collected(parts: Sequence[Callable[[], Signatures]], config: DedupConfig, spill: Spill) -> tuple[list[int], Signatures]:
    """(texts of each partition, all signatures); of the partitions' own only one is in memory. The first pass only counts."""
    wanted = config.permutations if config.mode == "near" else 0
    sizes: list[int] = []
    for part in parts:
        signatures = part()
        if wanted and signatures.minhash.shape[1] != wanted:
            raise ConfigError(
                f"signatures of {signatures.minhash.shape[1]} permutations can't be compared at {wanted}: sign the texts again."
            )
        sizes.append(len(signatures))
    like = {field.name: getattr(signatures, field.name) for field in fields(Signatures)}
    columns = {name: spill.array((sum(sizes), *array.shape[1:]), array.dtype) for name, array in like.items()}
    end = 0
    for part, size in zip(parts, sizes, strict=True):
        signatures, start, end = part(), end, end + size
        for name, column in columns.items():
            column[start:end] = getattr(signatures, name)
        spill.let_go()
    return sizes, Signatures(**columns)
