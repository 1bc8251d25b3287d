"""Which number belongs to this name? Key-value recall: a made-up number behind each article, one of them asked."""

from transformers import PreTrainedTokenizerBase

from kmem.training.namm.tasks.example import Example, build
from kmem.training.namm.tasks.haystack import Random, drawn, filled
from kmem.training.passages import Passage

CHARACTERS = 240
"""Of an article that stand before its number."""


def recall(tokenizer: PreTrainedTokenizerBase, passages: list[Passage], random: Random, *, tokens: int) -> Example | None:
    """`{text}` newline `The code of {title} is {number}.` many times; `The code of {title} is` → the number, of six digits."""
    found = drawn(passages, random)
    numbers = {passage.title: int(random.integers(100_000, 1_000_000)) for passage in found}

    def write(passage: Passage) -> str:
        return f"{passage.body[:CHARACTERS].rsplit(' ', 1)[0]}\nThe code of {passage.title} is {numbers[passage.title]}.\n\n"

    inside, texts = filled(tokenizer, found, write, tokens=tokens, random=random)
    title = found[0].title
    return build(tokenizer, "recall", texts, f"The code of {title} is", f" {numbers[title]}", documents=inside)
