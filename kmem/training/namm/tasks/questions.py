"""What is this? A question about one of many documents, answered in its words."""

from transformers import PreTrainedTokenizerBase

from kmem.training.namm.tasks.example import Example, build, ids_of
from kmem.training.namm.tasks.haystack import Random, drawn, filled
from kmem.training.passages import Passage

MOST_CHARACTERS = 600
ANSWER_TOKENS = 24


def questions(tokenizer: PreTrainedTokenizerBase, passages: list[Passage], random: Random, *, tokens: int) -> Example | None:
    """`{title}: {text}` many times; `Question: What is {title}?` newline `Answer:` → how that text begins, 24 tokens."""
    found = drawn(passages, random)
    inside, texts = filled(tokenizer, found, _written, tokens=tokens, random=random)
    beginning = tokenizer.decode(ids_of(tokenizer, " " + found[0].body)[:ANSWER_TOKENS])
    return build(tokenizer, "questions", texts, f"Question: What is {found[0].title}?\nAnswer:", beginning, documents=inside)


def _written(found: Passage) -> str:
    return f"{found.title}: {found.body[:MOST_CHARACTERS]}\n\n"
