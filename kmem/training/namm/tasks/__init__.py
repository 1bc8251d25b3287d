"""Tasks: prompts with answers from real text. One file a task; a new one is a line here and a row in tests/training/namm/test_tasks.py."""

from collections.abc import Callable

import numpy as np
from transformers import PreTrainedTokenizerBase

from kmem.errors import SourceNotFoundError
from kmem.identity import content_id
from kmem.training.namm.tasks.article import article
from kmem.training.namm.tasks.example import Example, ids_of, score
from kmem.training.namm.tasks.passage import passage
from kmem.training.namm.tasks.questions import questions
from kmem.training.namm.tasks.recall import recall
from kmem.training.passages import Passage

__all__ = ["LONG", "TASKS", "Example", "MakeExample", "examples", "ids_of", "score"]

MakeExample = Callable[..., Example | None]

TASKS: dict[str, MakeExample] = {
    "recall": recall,
    "questions": questions,
    "passage": passage,
    "article": article,
}
LONG = ("article",)
"""Tasks about one long document; the others put many short ones together."""
TRIES = 200


def examples(
    tokenizer: PreTrainedTokenizerBase, task: str, passages: list[Passage], count: int, *, tokens: tuple[int, ...], seed: int
) -> list[Example]:
    """`count` of a task, of these lengths in turn; each depends on the passages, its number and the seed alone.

    Raises SourceNotFoundError where the passages give too few.
    """
    found = []
    for index in range(count):
        length = tokens[index % len(tokens)]
        for attempt in range(TRIES):
            random = np.random.default_rng([seed, content_id(task), index, attempt])
            made = TASKS[task](tokenizer, passages, random, tokens=length)
            if made is not None:
                found.append(made)
                break
        else:
            raise SourceNotFoundError(
                f"None of {TRIES} documents gives a prompt of {length} tokens of the task {task!r}; name longer texts."
            )
    return found
