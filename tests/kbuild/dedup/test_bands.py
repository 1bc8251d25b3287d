"""datasketch is the reference: its choice of bands and rows, and the candidates it finds from the same signatures."""

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH
from datasketch.lsh import _optimal_param

from kmem.kbuild.dedup.bands import IN_VAIN, MISSED, bands_and_rows, earlier
from kmem.kbuild.dedup.config import DedupConfig
from kmem.kbuild.dedup.signatures import sign
from tests.kbuild.dedup.texts import chinese, edited, english


@pytest.mark.parametrize(("threshold", "permutations"), [(0.3, 16), (0.5, 24), (0.7, 24), (0.8, 32), (0.9, 16)])
def test_bands_and_rows_are_datasketch_s(threshold: float, permutations: int) -> None:
    assert bands_and_rows(threshold, permutations) == _optimal_param(threshold, permutations, IN_VAIN, MISSED)


def test_the_default_finds_nine_in_ten_at_the_threshold_and_nearly_all_a_little_above() -> None:
    config = DedupConfig()
    bands, rows = bands_and_rows(config.threshold, config.permutations)
    assert (bands, rows) == (32, 4)
    assert 1 - (1 - 0.5**rows) ** bands > 0.87
    assert 1 - (1 - 0.6**rows) ** bands > 0.98


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_the_candidates_are_datasketch_s(threshold: float) -> None:
    bases = [english(seed) for seed in range(8)] + [chinese(seed) for seed in range(8)]
    texts = [edited(text, seed, share) for seed, text in enumerate(bases) for share in (0.01, 0.01, 0.05, 0.2)]
    minhash = sign(texts, DedupConfig()).minhash
    bands, rows = bands_and_rows(threshold, 128)
    lsh = MinHashLSH(num_perm=128, params=(bands, rows))
    sketches = [MinHash(num_perm=128, hashvalues=row.astype(np.uint64), scheme="legacy") for row in minhash]
    for place, sketch in enumerate(sketches):
        lsh.insert(place, sketch)
    theirs = {(other, place) for place, sketch in enumerate(sketches) for other in lsh.query(sketch) if other < place}
    ours = set()
    for band in range(bands):
        before = earlier(minhash, np.arange(len(texts), dtype=np.int32), band, rows)
        for place, other in enumerate(before.tolist()):
            while other >= 0:
                ours.add((other, place))
                other = int(before[other])
    assert ours == theirs
    assert len(ours) > 4


def test_only_the_texts_asked_for_are_linked() -> None:
    minhash = np.zeros((5, 4), np.uint8)
    assert earlier(minhash, np.array([1, 2, 4], np.int32), 0, 4).tolist() == [-1, 0, 1]
