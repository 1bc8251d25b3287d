"""Whatever the tokens: the fast overlap is the naive one, to the last bit."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kmem.errors import WrongTypeError
from kmem.leak.naive import naive_overlap
from kmem.leak.overlap import overlap
from kmem.words import words

FEW = st.integers(min_value=0, max_value=3)
MANY = st.integers(min_value=-(2**62), max_value=2**62)


@settings(max_examples=400)
@given(alphabet=st.sampled_from([FEW, MANY]), data=st.data())
@example(alphabet=FEW, data=None)
def test_fast_is_naive(alphabet: st.SearchStrategy[int], data: st.DataObject | None) -> None:
    reference = data.draw(st.lists(alphabet, max_size=9)) if data else [1]
    text = data.draw(st.lists(alphabet, max_size=41)) if data else []
    assert overlap(reference, text) == naive_overlap(reference, text)


@pytest.mark.parametrize("reference", [1, 2, 31, 63, 64, 65, 128])
@pytest.mark.parametrize("text", [1, 13, 127, 128, 129, 257])
def test_odd_sizes(reference: int, text: int) -> None:
    rng = np.random.default_rng(reference * 1000 + text)
    ours, theirs = rng.integers(0, 40, reference), rng.integers(0, 40, text)
    copied = theirs[text // 3 :][:reference]
    copied[:] = ours[: len(copied)]
    theirs[::5] = rng.integers(0, 40, len(theirs[::5]))
    assert overlap(ours, theirs) == naive_overlap(ours.tolist(), theirs.tolist())


def test_the_matched_span_is_at_most_twice_the_reference() -> None:
    assert overlap([1, 2, 3, 4], [1, 0, 2, 0, 3, 0, 0, 4]) == 1.0
    assert overlap([1, 2, 3, 4], [1, 0, 2, 0, 3, 0, 0, 0, 4]) == 0.75
    assert overlap([1, 2], [1, 0, 0, 0, 2]) == 0.5


def test_order_counts_and_gaps_do_not() -> None:
    assert overlap([1, 2, 3], [3, 2, 1]) == pytest.approx(1 / 3)
    assert overlap([1, 2, 3], [9, 1, 9, 2, 9, 3]) == 1.0
    assert overlap([5], [1, 2, 3]) == 0.0


def test_nothing_overlaps_with_nothing() -> None:
    assert overlap([], [1]) == overlap([1], []) == overlap([], []) == 0.0
    assert naive_overlap([], [1]) == naive_overlap([1], []) == 0.0


def test_words_arrays_and_tensors() -> None:
    reference, text = "The cat sat, on the mat!", "And then THE cat sat on a mat."
    assert overlap(words(reference), words(text)) == naive_overlap(words(reference), words(text)) == 5 / 6
    ids = torch.tensor([1, 2, 3])
    assert overlap(ids.numpy(), np.array([1, 3], dtype=np.uint16)) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("reference", "text"), [("a cat", "a cat"), ([1, 2], ["1", "2"]), ([[1]], [[1]]), ([0.5], [0.5]), (["a"], "a")])
def test_what_can_not_be_compared(reference: list[int], text: list[int]) -> None:
    with pytest.raises(WrongTypeError, match=r"two lists of token ids or two lists of words.*kmem\.words\.words"):
        overlap(reference, text)
