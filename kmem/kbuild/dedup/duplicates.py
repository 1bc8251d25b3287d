"""Signatures of all partitions → which texts of each are copies of an earlier one, and of which."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from kmem.errors import ConfigError
from kmem.kbuild.dedup.bands import BLOCK_TEXTS, bands_and_rows, earlier, ranges
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

    Of texts that are alike the first stays, whichever partition it is in; how the texts are divided changes nothing. Takes 20 bytes a text
    in memory beside 2 GB and, at 128 permutations and the default threshold, 320 in temporary files, which are mapped a part at a time (or
    in memory, where they are small): a hundred million texts in 4 GB and 32 GB of disk. (config.py has these figures.)
    Raises ConfigError for signatures with another number of permutations than `config` has.
    """
    if not parts:
        return []
    with spilling() as spill:
        sizes, all_ = _collected(parts, config, spill)
        reason, of = np.zeros(len(all_), np.uint8), spill.array((len(all_),), np.int64)
        of[:] = -1
        if config.mode != "none":
            _exact(all_.exact, reason, of, spill)
        if config.mode == "near":
            _near(all_, config, reason, of, spill)
    bounds = np.cumsum(sizes)[:-1]
    return [Duplicates(of=own, reason=why) for own, why in zip(np.split(of, bounds), np.split(reason, bounds), strict=True)]


def _exact(hashes: NDArray[np.uint64], reason: NDArray[np.uint8], of: NDArray[np.int64], spill: Spill) -> None:
    for places in ranges(hashes[:, 0]):
        own = hashes[places]
        order = np.lexsort((own[:, 1], own[:, 0]))  # stable: equal ones ascend
        new = np.ones(len(order), bool)
        new[1:] = (own[order[1:]] != own[order[:-1]]).any(axis=1)
        first = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
        copies = places[order[~new]]
        reason[copies], of[copies] = EXACT, places[first[~new]]
        spill.let_go()


def _near(all_: Signatures, config: DedupConfig, reason: NDArray[np.uint8], of: NDArray[np.int64], spill: Spill) -> None:
    blocks = [slice(start, start + BLOCK_TEXTS) for start in range(0, len(reason), BLOCK_TEXTS)]
    long = [(np.flatnonzero((reason[at] == KEPT) & (all_.words[at] >= config.min_words)) + at.start).astype(np.int32) for at in blocks]
    texts = np.concatenate(long) if long else np.empty(0, np.int32)
    bands, rows = bands_and_rows(config.threshold, config.permutations)
    before, keys = spill.array((bands, len(texts)), np.int32), spill.array((len(texts),), np.uint64)
    for band in range(bands):
        before[band] = earlier(all_.minhash, texts, band, rows, spill.let_go, keys)
        spill.let_go()
    kept = np.empty(len(texts), np.int32)
    least, retitled = (math.ceil(share * config.permutations) for share in (config.threshold, config.retitled_threshold))
    for start in range(0, len(texts), BLOCK_TEXTS):
        end = min(start + BLOCK_TEXTS, len(texts))
        resolve(before, texts, all_.minhash, all_.title, all_.numbers, all_.others, least, retitled, kept, start, end)
        spill.let_go()
    for at in blocks:
        gone = np.flatnonzero(kept[at] >= 0) + at.start
        reason[texts[gone]], of[texts[gone]] = NEAR, texts[kept[gone]]
    # The text that an exact copy repeats may itself be a near-duplicate.
    for at in blocks:
        copies = np.flatnonzero(reason[at] == EXACT) + at.start
        further = of[of[copies]]
        of[copies] = np.where(further >= 0, further, of[copies])
        spill.let_go()


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
