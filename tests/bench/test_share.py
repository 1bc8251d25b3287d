"""Shares of the text's gain, and intervals that hold what they say."""

import numpy as np
import pytest

from kmem.bench.share import shares

Losses = dict[str, list[float]]


def test_share_is_of_sums_and_its_interval_below_it() -> None:
    share, low = shares({"nothing": [4.0, 8.0], "text": [0.0, 2.0], "half": [2.0, 5.0], "worse": [4.0, 9.0]})
    assert share == {"half": 0.5, "worse": pytest.approx(-0.1)}
    assert low == {"half": 0.5, "worse": pytest.approx(-1 / 6)}  # the first alike in every resampling, the second worst as twice [8, 9]


def drawn(chance: np.random.Generator, articles: int) -> tuple[Losses, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Articles whose text always gains 3 nats, and the share of it that x has of each: normal, 0.8 on average."""
    nothing, gained = chance.normal(4, 1, articles), chance.normal(0.8, 0.3, articles)
    return {"nothing": nothing.tolist(), "text": (nothing - 3).tolist(), "x": (nothing - 3 * gained).tolist()}, gained


def test_the_interval_of_a_mean_is_the_textbooks() -> None:
    """Where every text gains the same, the share is a mean: its interval ends 1.96 standard errors below."""
    chance = np.random.default_rng(1)
    for _ in range(20):
        losses, gained = drawn(chance, 200)
        share, low = shares(losses)
        assert share["x"] == pytest.approx(gained.mean())
        assert low["x"] == pytest.approx(gained.mean() - 1.96 * gained.std() / np.sqrt(200), abs=0.15 * gained.std() / np.sqrt(200))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    chance = np.random.default_rng(2)
    ends = [shares(drawn(chance, 60)[0])[1]["x"] for _ in range(400)]
    assert 0.955 <= sum(end is not None and end <= 0.8 for end in ends) / 400 <= 0.99


def test_without_a_gain_of_the_text_there_is_no_share() -> None:
    assert shares({"nothing": [4.0, 4.0], "text": [4.0, 4.0], "x": [3.0, 3.0]}) == ({"x": None}, {"x": None})
    assert shares({"nothing": [4.0, 4.0], "text": [5.0, 4.0], "x": [3.0, 3.0]}) == ({"x": None}, {"x": None})
    share, low = shares({"nothing": [4.0, 4.0], "text": [1.0, 5.0], "x": [3.0, 3.0]})
    assert (share, low) == ({"x": 1.0}, {"x": None})  # a resampling of the second article alone gains less than nothing
