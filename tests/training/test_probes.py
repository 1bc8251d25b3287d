"""What each kind of probe asks, and that none of them asks what its prompt already says."""

import pytest

from kmem.training.passages import Passage
from kmem.training.probes import PROBES
from tests.tiny import byte_tokenizer

TEXT = "The tower was built in 1889 by Gustave Eiffel, an engineer from Dijon. It stands in Paris and has three floors for visitors."
PASSAGE = Passage("Eiffel Tower", TEXT)


def asked(kind: str, passage: Passage = PASSAGE) -> tuple[str, str]:
    tokenizer = byte_tokenizer()
    probe = PROBES[kind](tokenizer, passage)
    assert probe is not None
    assert len(probe.reference) <= 128
    assert tokenizer.decode(list(probe.text_context)).startswith("<bos>Reference:Eiffel Tower: The tower")
    assert probe.text_context[-len(probe.context) :] == probe.context
    assert probe.nothing_context == (256, *probe.context)
    return tokenizer.decode(list(probe.context)), tokenizer.decode(list(probe.target))


def test_title_is_the_measurement_of_the_design() -> None:
    assert asked("title") == ("Question: What is Eiffel Tower?\nAnswer:", " " + TEXT[:39])
    assert PROBES["title"](byte_tokenizer(), Passage("", TEXT)) is None


def test_continuation_asks_for_what_comes_next() -> None:
    prompt, target = asked("continuation")
    assert prompt == "The tower was built in 1889 by Gustave Eiffel, an engineer from"
    assert (prompt + target) == TEXT[: len(prompt) + 40]
    assert PROBES["continuation"](byte_tokenizer(), Passage("Fox", "A short text.")) is None


def test_question_blanks_a_name_or_number() -> None:
    prompt, target = asked("question")
    assert "built in ___ by Gustave Eiffel" in prompt
    assert target == " 1889"
    named = Passage("Eiffel Tower", TEXT.replace("1889", "spring"))
    assert asked("question", named)[1] == " Gustave Eiffel"
    assert PROBES["question"](byte_tokenizer(), Passage("Fox", "nothing here has a name or a number in it, not one word. " * 3)) is None


@pytest.mark.parametrize("kind", PROBES)
def test_odd_texts_do_no_harm(kind: str) -> None:
    for passage in (Passage("", "a"), Passage("x", "ü" * 500), Passage("12", "12 and 13 are 25."), Passage("(", "In (see [1]) \\d+ 7.")):
        PROBES[kind](byte_tokenizer(), passage)
