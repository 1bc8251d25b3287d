"""Sequences of pairs and queries, read back by the rules on paper."""

import re

import numpy as np
import pytest
import torch

from kmem.errors import ConfigError, KmemError, UnknownNameError
from kmem.training.mqar.generate import IGNORED, TEST, TRAINING, Examples, examples
from kmem.training.mqar.task import TaskConfig

SCATTERED = TaskConfig(vocab_size=24, tokens=40, pairs=5)
ZOOLOGY = TaskConfig(layout="zoology", vocab_size=24, tokens=40, pairs=5)
FULL = TaskConfig(vocab_size=20, tokens=36, pairs=9)
"""As many pairs as keys and as tokens allow."""


def made(task: TaskConfig, count: int = 50, *, seed: int = 3, stream: int = TRAINING, index: int = 0) -> Examples:
    return examples(task, count, seed=seed, stream=stream, index=index)


@pytest.mark.parametrize("task", [SCATTERED, ZOOLOGY, FULL], ids=["scattered", "zoology", "full"])
def test_every_query_has_its_pair_before_it_and_its_value_as_label(task: TaskConfig) -> None:
    """Read from left to right: of a key not seen before the next token is the value; seen before, it is a query, and no answer follows."""
    for inputs, labels, distances in zip(*(part.tolist() for part in made(task)), strict=True):
        values: dict[int, tuple[int, int]] = {}
        asked: list[int] = []
        place = 0
        while place < task.tokens:
            token = inputs[place]
            if token == 0:
                assert (labels[place], distances[place]) == (IGNORED, 0)
                place += 1
            elif token in values:
                value, stood = values[token]
                assert (labels[place], distances[place]) == (value, place - stood)
                assert place + 1 == task.tokens or inputs[place + 1] == 0
                asked.append(token)
                place += 1
            else:
                assert 1 <= token < task.vocab_size // 2 <= inputs[place + 1] < task.vocab_size
                assert labels[place] == labels[place + 1] == IGNORED
                values[token] = inputs[place + 1], place + 1
                place += 2
        assert len(values) == task.pairs == len({value for value, _ in values.values()})
        assert sorted(asked) == sorted(values)


def test_zoology_pairs_come_first() -> None:
    inputs, labels, _ = made(ZOOLOGY)
    assert (inputs[:, :10:2] < 12).all()
    assert (inputs[:, 1:10:2] >= 12).all()
    assert (labels[:, :10] == IGNORED).all()
    queries = (labels != IGNORED).nonzero()[:, 1]
    assert (queries % 2 == 0).all()
    assert int(queries.max()) == 38


def test_zoology_gaps_follow_the_power_law() -> None:
    """12 tokens, 2 pairs: 4 slots of weights 1, 2^−½, 3^−½, 4^−½; the first key's slot has these chances, the second's what is left."""
    task = TaskConfig(layout="zoology", vocab_size=24, tokens=12, pairs=2, power=0.5)
    inputs, _, _ = made(task, 20_000)
    slots = inputs[:, 4::2].numpy()
    first = (slots == inputs[:, :1].numpy()).argmax(1)
    second = (slots == inputs[:, 2:3].numpy()).argmax(1)
    weights = np.arange(1, 5) ** -0.5
    chances = weights / weights.sum()
    assert np.abs(np.bincount(first, minlength=4) / 20_000 - chances).max() < 0.015
    after = [sum(chances[one] * chances[two] / (1 - chances[one]) for one in range(4) if one != two) for two in range(4)]
    assert np.abs(np.bincount(second, minlength=4) / 20_000 - after).max() < 0.015


def test_scattered_gaps_follow_the_power_law_from_each_pair() -> None:
    """10 tokens, 1 pair: it stands in each of the first 4 slots alike; from slot 2 the query is 1 or 2 slots away, weights 1 and 2^−½."""
    task = TaskConfig(vocab_size=24, tokens=10, pairs=1, power=0.5)
    inputs, _, distances = made(task, 20_000)
    slots = (inputs[:, 1::2] > 0).int().argmax(1)
    assert np.abs(np.bincount(slots.numpy(), minlength=5) / 20_000 - [0.25, 0.25, 0.25, 0.25, 0]).max() < 0.015
    gaps = (distances[slots == 2].max(1).values + 1) // 2
    assert float((gaps == 1).float().mean()) == pytest.approx(1 / (1 + 2**-0.5), abs=0.03)
    assert set(gaps.tolist()) == {1, 2}


def test_scattered_pairs_lie_anywhere_but_where_no_query_would_fit() -> None:
    inputs, _, distances = made(TaskConfig(vocab_size=64, tokens=40, pairs=5, power=1.0), 20_000)
    places = (inputs[:, 1::2] > 0).float().mean(0)
    assert places[:15].tolist() == pytest.approx([5 / 15] * 15, abs=0.015)
    assert places[15:].tolist() == [0.0] * 5
    assert int(distances.max()) == 37


@pytest.mark.parametrize("task", [SCATTERED, ZOOLOGY])
def test_random_filler_stands_where_zeros_stood(task: TaskConfig) -> None:
    zeros = made(task)
    inputs, labels, distances = made(TaskConfig(**(vars(task) | {"filler": "random"})))
    assert torch.equal(labels, zeros.labels)
    assert torch.equal(distances, zeros.distances)
    assert torch.equal(inputs[zeros.inputs > 0], zeros.inputs[zeros.inputs > 0])
    assert set(inputs[zeros.inputs == 0].tolist()) == set(range(task.vocab_size))


def test_the_same_arguments_give_the_same_examples_and_others_give_others() -> None:
    assert all(torch.equal(one, two) for one, two in zip(made(SCATTERED), made(SCATTERED), strict=True))
    others = (made(SCATTERED, seed=4), made(SCATTERED, stream=TEST), made(SCATTERED, index=1))
    assert not any(torch.equal(made(SCATTERED).inputs, other.inputs) for other in others)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"tokens": 39}, ConfigError, "tokens must be even, not 39"),
        ({"tokens": 18}, ConfigError, "5 pairs and as many queries need 20 tokens, not 18"),
        ({"vocab_size": 10}, ConfigError, "A vocabulary of 10 has 4 keys"),
        ({"layout": "scatterd"}, UnknownNameError, "'scatterd'"),
        ({"filler": "ones"}, UnknownNameError, "'ones'"),
        ({"power": 0.0}, ConfigError, "power must be above 0"),
        ({"pairs": 0}, ConfigError, "pairs must be at least 1"),
    ],
)
def test_what_cant_be_laid_out(options: dict[str, object], error: type[KmemError], said: str) -> None:
    with pytest.raises(error, match=re.escape(said)):
        TaskConfig(**(vars(SCATTERED) | options))
