"""What is learnt from, calibrated with and judged by is apart; a batch is a matter of seed and number; no text is its own memory."""

from dataclasses import replace
from pathlib import Path

import pytest

from kmem.errors import ConfigError, SourceNotFoundError, UnknownNameError
from kmem.leak.overlap import overlap
from kmem.training.memory.lessons import Lessons, read_corpora
from kmem.training.memory.recipe import AskedConfig, LossConfig, Recipe, TextConfig, TrainingConfig, checked, recipe_of
from kmem.training.memory.retrieval import find
from kmem.training.passages import passages
from tests.tiny import HashEmbedder, byte_tokenizer
from tests.training.memory.tiny import recipe


def test_no_document_is_on_two_sides(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    corpus = read_corpora(made.data)
    source = made.data.corpora[0]
    calibrated = passages(source, held_out=False)[:2]
    assert len(corpus.judged) == 4
    assert all(passage.held_out for passage in corpus.judged)
    assert not any(passage.held_out for passage in corpus.learnt)
    assert not set(corpus.learnt) & set(calibrated)
    assert set(corpus.learnt) | set(calibrated) == set(passages(source, held_out=False))
    assert corpus.judged == tuple(passages(source, held_out=True)[:4])
    with pytest.raises(SourceNotFoundError, match="nothing to learn from beside the 500"):
        read_corpora(replace(made.data, reserved=500))


def test_questions_read_their_own_passage_among_others(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    lessons = Lessons(made, read_corpora(made.data).learnt, byte_tokenizer())
    assert lessons.batch(5) == lessons.batch(5)
    assert lessons.batch(5) != lessons.batch(7)
    assert lessons.batch(5) != Lessons(replace(made, seed=1), read_corpora(made.data).learnt, byte_tokenizer()).batch(5)
    places = set()
    for number in range(12):
        for example in lessons.batch(number):
            ((first, last, ids),) = example.reads
            assert (first, last) == (0, len(example.context) + len(example.target))
            assert len(ids) == (3 if number % 2 else 1)
            assert example.taught is not None
            behind = bytes(token for token in example.taught if token < 256)
            own = [place for place, row in enumerate(ids) if bytes(lessons.references[row]) in behind]
            assert len(own) == 1
            places |= set(own)
    assert places == {0, 1, 2}


def test_running_text_reads_near_references_that_are_not_itself(tmp_path: Path) -> None:
    made = recipe(tmp_path, text=TextConfig(batch_size=1, tokens=256, chunk=64, references=2, before=1), asked=AskedConfig(batch_size=0))
    learnt, tokenizer = read_corpora(made.data).learnt, byte_tokenizer()
    lessons = Lessons(made, learnt, tokenizer)
    found = find(lessons.sequences, lessons.references, tokenizer, HashEmbedder(), made.text)
    assert found.leaks > 0
    for tokens, chunks in zip(lessons.sequences, found.reads, strict=True):
        assert [len(ids) for ids in chunks] == [2, 2, 2, 2]
        assert all(overlap(lessons.references[place], tokens) <= 0.9 for ids in chunks for place in ids)
    shifted = find(lessons.sequences, lessons.references, tokenizer, HashEmbedder(), replace(made.text, mode="shifted"))
    assert shifted.reads == tuple(((), *chunks[:-1]) for chunks in found.reads)
    unguarded = find(lessons.sequences, lessons.references, tokenizer, HashEmbedder(), replace(made.text, leak=1.0))
    assert (unguarded.leaks, unguarded.reads != found.reads) == (0, True)

    (example,) = Lessons(made, learnt, tokenizer, found.reads).batch(3)
    whole = (*example.context, *example.target)
    own = found.reads[lessons.sequences.index(whole)]
    assert example.reads[0] == (0, 64, own[0])
    assert example.reads[2] == (128, 192, tuple(dict.fromkeys((*own[2], *own[1]))))
    assert example.taught is None


def test_the_shipped_recipe_is_the_defaults_spelt_out() -> None:
    assert checked(recipe_of("distil")) == Recipe()


def test_the_papers_recipe_is_the_papers_layout() -> None:
    paper = checked(recipe_of("paper"))
    assert (paper.profile, paper.text.chunk, paper.text.references, paper.text.before, paper.text.leak) == ("memory3", 64, 1, 4, 0.9)
    assert (paper.text.batch_size, paper.losses.distillation) == (1, 0)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="learns from nothing"):
        Recipe(asked=AskedConfig(batch_size=0))
    with pytest.raises(ConfigError, match="learns from nothing"):
        Recipe(losses=LossConfig(distillation=0))
    with pytest.raises(ConfigError, match=r"text\.leak is 2"):
        TextConfig(leak=2.0)
    with pytest.raises(UnknownNameError, match="paper, shifted"):
        TextConfig(mode="once")
    with pytest.raises(UnknownNameError, match="off, roll_back, skip"):
        TrainingConfig(spike="ignore")
    with pytest.raises(ConfigError, match="spike_factor is 1"):
        TrainingConfig(spike_factor=1.0)
