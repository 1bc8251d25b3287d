"""Which text said this? Passage retrieval: a sentence of one article, and the name of the article that it is from."""

import re

from transformers import PreTrainedTokenizerBase

from kmem.training.namm.tasks.example import Example, build
from kmem.training.namm.tasks.haystack import Random, drawn, filled
from kmem.training.passages import Passage

_SENTENCE = re.compile(r"(?<=[.!?]) (?=[A-Z])")
LEAST_WORDS = 8
MOST_CHARACTERS = 600


def passage(tokenizer: PreTrainedTokenizerBase, passages: list[Passage], random: Random, *, tokens: int) -> Example | None:
    """`Text: {text}` newline `Title: {title}` many times; `Text: {a late sentence}` newline `Title:` → the title.

    None where no sentence of the text is without a word of the title.
    """
    found = drawn(passages, random)
    asked = _sentence(found[0])
    if asked is None:
        return None
    inside, texts = filled(tokenizer, found, _written, tokens=tokens, random=random)
    return build(tokenizer, "passage", texts, f"Text: {asked}\nTitle:", f" {found[0].title}", documents=inside)


def _written(found: Passage) -> str:
    return f"Text: {found.body[:MOST_CHARACTERS]}\nTitle: {found.title}\n\n"


def _sentence(found: Passage) -> str | None:
    words = {word.lower() for word in re.findall(r"\w+", found.title) if len(word) > 2}
    for sentence in reversed(_SENTENCE.split(found.body[:MOST_CHARACTERS])[1:]):
        said = {word.lower() for word in re.findall(r"\w+", sentence)}
        if len(sentence.split()) >= LEAST_WORDS and not words & said:
            return sentence
    return None
