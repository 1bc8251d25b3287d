"""Examples without end, each batch from its own seed, so that any of them can be made again.

The layout `zoology` is Zoology's generator (HazyResearch/zoology, multiquery_ar.py, arXiv 2312.04927): pairs k₁ v₁ k₂ v₂ … from position 0;
then (T − 2N)/2 slots of two tokens, of which each key takes one, drawn without replacement with weights i^(a−1), and stands in its first
token. The label, the key's value, stands at the query itself; answers are no input. Left out are its passes above one, which don't run,
and its demand for more words than tokens, which nothing needs; random filler is seeded as all else is, and, as there, may be any token.

`scattered` has T/2 such slots. Pairs stand in N of the first T/2 − N, drawn evenly. Then each in turn, in random order, draws its query's
slot among the free ones behind it, at i slots' distance with weight i^(a−1): Zoology's law of gaps, counted from each pair. So pairs lie
anywhere, and neither the first tokens nor the last are those to keep.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kmem.training.mqar.task import TaskConfig

IGNORED = -100
"""The label of a token that is no query."""
TRAINING, TEST = 0, 1
"""Streams: no batch is in two."""
Numbers = NDArray[np.int64]


class Examples(NamedTuple):
    """inputs: [B, T] int64. labels: [B, T], IGNORED but at queries. distances: [B, T], tokens from a query back to its value, else 0."""

    inputs: Tensor
    labels: Tensor
    distances: Tensor


def examples(task: TaskConfig, count: int, *, seed: int, stream: int, index: int) -> Examples:
    """`count` sequences: batch `index` of a stream (TRAINING or TEST) of this seed. The same arguments give the same examples."""
    random = np.random.default_rng([seed, stream, index])
    keys = 1 + _distinct(random, count, task.keys, task.pairs)
    first_value = task.vocab_size // 2
    values = first_value + _distinct(random, count, task.vocab_size - first_value, task.pairs)
    places, queries = (_scattered if task.layout == "scattered" else _zoology)(random, count, task)
    rows = np.arange(count)[:, None]
    inputs = np.zeros((count, task.tokens), dtype=np.int64)
    if task.filler == "random":
        inputs = random.integers(task.vocab_size, size=inputs.shape)
    labels, distances = np.full_like(inputs, IGNORED), np.zeros_like(inputs)
    inputs[rows, places], inputs[rows, places + 1], inputs[rows, queries] = keys, values, keys
    labels[rows, queries], distances[rows, queries] = values, queries - places - 1
    return Examples(*(torch.from_numpy(part) for part in (inputs, labels, distances)))


def _distinct(random: np.random.Generator, count: int, among: int, wanted: int) -> Numbers:
    """[count, wanted] numbers below `among`, in random order, none twice in a row."""
    return random.random((count, among)).argsort(axis=1)[:, :wanted]


def _zoology(random: np.random.Generator, count: int, task: TaskConfig) -> tuple[Numbers, Numbers]:
    """Positions [count, N] of keys and of their queries."""
    space = (task.tokens - 2 * task.pairs) // 2
    weights = (task.power - 1) * np.log(np.arange(1, space + 1))
    gaps = (-weights - random.gumbel(size=(count, space))).argsort(axis=1)[:, : task.pairs]  # in this order drawn one after another
    places = np.broadcast_to(2 * np.arange(task.pairs), (count, task.pairs))
    return places, 2 * task.pairs + 2 * gaps


def _scattered(random: np.random.Generator, count: int, task: TaskConfig) -> tuple[Numbers, Numbers]:
    slots = task.tokens // 2
    pairs = _distinct(random, count, slots - task.pairs, task.pairs)
    queries, taken = np.empty_like(pairs), np.zeros((count, slots), dtype=bool)
    np.put_along_axis(taken, pairs, True, axis=1)
    for number in range(task.pairs):
        gaps = np.arange(slots) - pairs[:, number, None]
        weights = (task.power - 1) * np.log(np.maximum(gaps, 1)) + random.gumbel(size=gaps.shape)
        queries[:, number] = np.where(taken | (gaps < 1), -np.inf, weights).argmax(axis=1)
        np.put_along_axis(taken, queries[:, number, None], True, axis=1)
    return 2 * pairs, 2 * queries
