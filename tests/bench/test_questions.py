"""Exact match and F1 as SQuAD counts them; a file of questions says where it is wrong; the whole measurement on a tiny model."""

import json
from pathlib import Path

import pytest

from kmem.bench.questions import PROMPTS, Question, load_questions, measure_questions, normalised, text_in_bracket, token_f1
from kmem.errors import SourceError
from kmem.profile import Profile
from kmem.training.passages import Passage
from kmem.training.probes import make_probe
from tests.tiny import byte_tokenizer, tiny_model, uniform_budget


def test_answers_are_compared_without_articles_case_and_punctuation() -> None:
    assert normalised("The  Oxus River.") == normalised("oxus river") == "oxus river"
    assert token_f1("the Oxus", "Oxus River") == pytest.approx(2 / 3)
    assert token_f1("Nile", "Oxus River") == 0.0
    assert token_f1("x x y", "x y y") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2 lacks"),
        ('{"question": "x"}', "'answer'"),
        ('{"question": "x", "answer": 3, "context": "y"}', "must be strings"),
        ("[]", "line 2 lacks"),
    ],
)
def test_bad_files_name_the_line(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"question": "q", "answer": "a", "context": "c"}) + "\n" + line + "\n")
    with pytest.raises(SourceError, match=says):
        load_questions(str(path))
    path.write_text("\n")
    with pytest.raises(SourceError, match="holds no question"):
        load_questions(str(path))


def test_a_line_ends_where_json_lines_end(tmp_path: Path) -> None:
    """Not at the separators that Unicode calls line ends, which JSON leaves as they are."""
    path = tmp_path / "q.jsonl"
    text = "One\u2028two\x85three"
    path.write_text(json.dumps({"question": text, "answer": "a", "context": "c"}, ensure_ascii=False) + "\r\n\r\n", encoding="utf-8")
    assert [asked.question for asked in load_questions(str(path))] == [text]


def test_the_shipped_questions_are_answered_by_their_contexts() -> None:
    questions = load_questions(str(Path(__file__).parents[2] / "docs/results/questions-vital-articles.jsonl"))
    assert len(questions) == 40
    assert all(normalised(asked.answer).split()[-1] in normalised(asked.context) for asked in questions)


def test_every_way_is_scored() -> None:
    questions = [
        Question(question="Which animal?", answer="Fox", context="A fox."),
        Question(question="Where?", answer="Paris", context="In Paris. " + "And so on. " * 20),
    ]
    figures = measure_questions(tiny_model(seed=6), byte_tokenizer(), questions, {"u": Profile(name="u", budget=uniform_budget(8))})
    assert set(figures["nll"]) == set(figures["exact_match"]) == set(figures["f1"]) == {"nothing", "text", "text_in_bracket", "u"}
    assert set(figures["share_of_text_gain"]) == {"text_in_bracket", "u"}
    assert figures["share_of_bracketed_text_gain"]["text_in_bracket"] == 1.0
    assert figures["exact_match"]["u"] == 0.0
    assert figures["prompts"].keys() == PROMPTS.keys() == {"question_answer", "q_a", "bare"}
    assert figures["prompts"]["question_answer"] == {"u": figures["share_of_bracketed_text_gain"]["u"]}
    assert len({prompt["u"] for prompt in figures["prompts"].values()}) == 3
    assert figures["contexts_cut"] == 1


def test_the_text_in_the_bracket_is_what_a_dense_memory_holds() -> None:
    tokenizer = byte_tokenizer()
    probe = make_probe(tokenizer, Passage("", "A fox."), prompt="Which?", target="Fox")
    profile = Profile(name="u", budget=uniform_budget(8), prefix="<<", suffix=">>")
    assert tokenizer.decode(text_in_bracket(tokenizer, probe, profile), skip_special_tokens=True) == "<<A fox.>>Which?"
