"""A guard drops what copies the text, above its threshold and not at it."""

import pytest

from kmem.errors import ConfigError
from kmem.leak.guard import EVALUATION, TRAINING, LeakGuard
from kmem.words import words

QUESTION = words("Question: which data structure gives rapid access to items that are distinguished by a key? Answer:")
COPY = words("Which data structure gives rapid access to items that are distinguished by a key?")
RELEVANT = words("A hash table gives rapid access to data items which are distinguished by some key, by a hash of it.")
OTHER = words("The heron waits in shallow water for fish.")


def test_the_paper_s_thresholds() -> None:
    assert (TRAINING, EVALUATION) == (0.9, 2 / 3)


def test_a_copy_of_the_question_is_dropped() -> None:
    guard = LeakGuard(threshold=EVALUATION)
    assert guard.nearest([COPY, RELEVANT, OTHER], QUESTION, 3) == ((1, 2), 1)
    assert not guard.keeps(COPY, QUESTION)


@pytest.mark.parametrize(("same", "kept"), [(17, True), (18, True), (19, False), (20, False)])
def test_at_the_threshold_a_reference_stays(same: int, kept: bool) -> None:
    reference = list(range(20))
    text = [7] * 50 + reference[:same] + [99] * 50
    assert LeakGuard(threshold=TRAINING).keeps(reference, text) is kept


def test_two_thirds_of_a_reference_stay() -> None:
    assert LeakGuard(threshold=EVALUATION).keeps([1, 2, 3], [1, 2, 9])
    assert LeakGuard(threshold=EVALUATION).keeps(list(range(30)), list(range(20)))
    assert not LeakGuard(threshold=EVALUATION).keeps(list(range(30)), list(range(21)))


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_that_is_no_share(threshold: float) -> None:
    with pytest.raises(ConfigError, match=r"threshold is .*from 0 to 1"):
        LeakGuard(threshold=threshold)


def test_training_takes_the_next_one_for_each_that_copies_its_text() -> None:
    """Stage two: what a chunk of the training text reads, out of a search that goes on for as long as it is asked."""
    chunk = list(range(64))
    nearly, half, other = [*chunk[:61], 99, 99, 99], [*chunk[:32], *range(100, 132)], list(range(200, 264))
    found = iter([chunk, nearly, half, chunk, other, half])
    assert LeakGuard(threshold=TRAINING).nearest(found, chunk, 2) == ((2, 4), 3)
    assert list(found) == [half]
    assert LeakGuard(threshold=TRAINING).nearest([chunk], chunk, 2) == ((), 1)
    with pytest.raises(ConfigError, match="count"):
        LeakGuard(threshold=TRAINING).nearest([other], chunk, 0)
