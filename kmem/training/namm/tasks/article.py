"""How does it go on? Next-token prediction in the middle of a long document."""

from transformers import PreTrainedTokenizerBase

from kmem.training.namm.tasks.example import Example, begin, ids_of
from kmem.training.namm.tasks.haystack import Random
from kmem.training.passages import Passage

ANSWER_TOKENS = 64
NEAR_TOKENS = 32
"""The end of what was read, which stands for a question."""


def article(tokenizer: PreTrainedTokenizerBase, passages: list[Passage], random: Random, *, tokens: int) -> Example | None:
    """`tokens` tokens from anywhere in a document → the next 64; None where it is shorter."""
    found = passages[int(random.integers(len(passages)))]
    ids = ids_of(tokenizer, found.body)
    spare = len(ids) - tokens - ANSWER_TOKENS
    if spare < 0:
        return None
    start = int(random.integers(spare + 1))
    context, answer = ids[start : start + tokens], ids[start + tokens : start + tokens + ANSWER_TOKENS]
    first, near = begin(tokenizer), len(context) - NEAR_TOKENS
    return Example(
        task="article",
        texts=(*first, *context[:near]),
        question=tuple(context[near:]),
        answer=tuple(answer),
        begin=len(first),
        documents=(found.id,),
    )
