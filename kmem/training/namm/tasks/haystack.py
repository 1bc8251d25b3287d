"""As many texts as fit, the one that is asked about at a place of its own among them."""

from collections.abc import Callable

import numpy as np
from transformers import PreTrainedTokenizerBase

from kmem.training.namm.tasks.example import ids_of
from kmem.training.passages import Passage

Random = np.random.Generator
MOST = 400
"""Documents drawn for a prompt at most; what lies beyond ever fills one."""


def drawn(passages: list[Passage], random: Random) -> list[Passage]:
    """Different documents with titles of their own, in an order of chance."""
    order = random.permutation(len(passages))[:MOST]
    found: dict[str, Passage] = {}
    for index in order:
        found.setdefault(passages[index].title, passages[index])
    return list(found.values())


def filled(
    tokenizer: PreTrainedTokenizerBase, passages: list[Passage], write: Callable[[Passage], str], *, tokens: int, random: Random
) -> tuple[list[Passage], list[str]]:
    """The first passage, which must be in, and as many of the others as fit into so many tokens, shuffled; and how each is written."""
    chosen: list[tuple[Passage, str]] = []
    left = tokens
    for passage in passages:
        text = write(passage)
        size = len(ids_of(tokenizer, text))
        if size <= left:
            chosen.append((passage, text))
            left -= size
        elif left < tokens / 50:
            break
    mixed = [chosen[index] for index in random.permutation(len(chosen))]
    return [passage for passage, _ in mixed], [text for _, text in mixed]
