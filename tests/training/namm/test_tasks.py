"""Prompts with answers: what they hold, that they depend on their number alone, and that no document is in both parts."""

from collections import Counter

import numpy as np
import pytest
import torch

from kmem.errors import SourceNotFoundError, UnknownNameError
from kmem.training.namm.collection import prompts
from kmem.training.namm.tasks import LONG, TASKS, examples, ids_of, score
from kmem.training.passages import Passage
from tests.tiny import byte_tokenizer
from tests.training.namm import tiny

TOKENIZER = byte_tokenizer()
ASKED = {
    "recall": ("The code of", " "),
    "questions": ("Question: What is", " "),
    "passage": ("Text:", " Name"),
    "article": ("", ""),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_prompt(task: str) -> None:
    passages = tiny.LONG if task in LONG else tiny.PASSAGES
    one, two = examples(TOKENIZER, task, passages, 2, tokens=(900, 700), seed=1)
    for example, length in ((one, 900), (two, 700)):
        text, question, answer = (TOKENIZER.decode(list(ids)) for ids in (example.texts, example.question, example.answer))
        assert 0.6 * length < len(example.context) <= length + 400
        assert answer in " ".join(passage.body + passage.title for passage in passages) or answer.strip() in text
        begins, answers = ASKED[task]
        assert question.startswith(begins)
        assert answer.startswith(answers)
        assert set(example.documents) <= {passage.id for passage in passages}
        assert example.alone == example.texts[: example.begin] + example.question
    assert examples(TOKENIZER, task, passages, 1, tokens=(900,), seed=1) == [one]
    assert examples(TOKENIZER, task, passages, 1, tokens=(900,), seed=2) != [one]


def test_the_number_asked_for_stands_behind_its_name() -> None:
    [example] = examples(TOKENIZER, "recall", tiny.PASSAGES, 1, tokens=(900,), seed=3)
    text, question, answer = (TOKENIZER.decode(list(ids)) for ids in (example.texts, example.question, example.answer))
    assert f"{question}{answer}." in text
    numbers = Counter(word.strip(".") for word in text.split() if word.strip(".").isdigit())
    assert set(numbers.values()) == {1}


def test_nothing_is_both_learnt_from_and_asked_about(tmp_path: object) -> None:
    from pathlib import Path

    tasks = tiny.write_corpora(Path(str(tmp_path)))
    learnt, asked = (prompts(TOKENIZER, tasks, 2, held_out=held_out, seed=0) for held_out in (False, True))
    documents = [{number for found in made.values() for example in found for number in example.documents} for made in (learnt, asked)]
    assert all(documents)
    assert not documents[0] & documents[1]


def test_scores_are_mean_probabilities_of_the_right_tokens() -> None:
    logits = torch.tensor([[[0.0, np.log(3.0)], [0.0, 0.0]], [[50.0, 0.0], [0.0, 50.0]]])
    assert score(logits, torch.tensor([1, 1])).tolist() == pytest.approx([(0.75 + 0.5) / 2, 0.5])


def test_texts_that_give_no_prompt() -> None:
    with pytest.raises(SourceNotFoundError, match="prompt of 9000 tokens of the task 'article'; name longer texts"):
        examples(TOKENIZER, "article", tiny.LONG, 1, tokens=(9000,), seed=0)
    with pytest.raises(SourceNotFoundError, match="task 'passage'"):
        examples(TOKENIZER, "passage", [Passage("Stone", "Stone is stone.")], 1, tokens=(100,), seed=0)
    from kmem.training.namm.collection import require_tasks

    with pytest.raises(UnknownNameError, match="Unknown task 'recal'"):
        require_tasks(("recal",))


def test_ids_of_has_no_special_tokens() -> None:
    assert ids_of(TOKENIZER, "ab") == TOKENIZER("ab", add_special_tokens=False)["input_ids"]
