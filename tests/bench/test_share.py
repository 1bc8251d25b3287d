"""Shares of the text's gain, and intervals that hold what they say."""

import numpy as np
import pytest

from kmem.bench.share import shares


def test_share_is_of_sums_and_its_interval_below_it() -> None:
    share, low = shares({"nothing": [4.0, 8.0], "text": [0.0, 2.0], "half": [2.0, 5.0], "worse": [4.0, 9.0]})
    assert share == {"half": 0.5, "worse": pytest.approx(-0.1)}
    assert low["half"] == 0.5  # every article alike: resampling changes nothing
    assert low["worse"] < share["worse"]


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    chance = np.random.default_rng(1)
    below = 0
    for _ in range(100):
        nothing = chance.normal(4, 1, 60)
        gained = np.clip(chance.normal(0.8, 0.3, 60), 0, None)
        _, low = shares({"nothing": nothing.tolist(), "text": (nothing - 3).tolist(), "x": (nothing - 3 * gained).tolist()})
        below += low["x"] <= 0.8
    assert 92 <= below <= 100
