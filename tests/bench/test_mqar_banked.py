"""Pairs that are in a bank alone."""

import torch

from kmem.bench.mqar.banked import apart, banked_recall, numbers
from kmem.bench.mqar.config import MqarConfig
from kmem.models.bmojo import BMojoForCausalLM
from kmem.training.mqar.generate import IGNORED, examples
from kmem.training.mqar.run import load_trained
from kmem.training.mqar.sizing import config_of
from kmem.training.mqar.task import TaskConfig
from tests.training.mqar.tiny import recipe

SHIPPED = sorted(MqarConfig().folder.glob("bmojo-*.safetensors"))


def test_no_pair_is_in_a_question_and_no_query_in_what_is_stored() -> None:
    task = TaskConfig(tokens=256, pairs=8)
    batch = examples(task, 3, seed=0, stream=1, index=0)
    asked = batch.labels != IGNORED
    texts, questions = apart(batch.inputs, asked)
    assert torch.equal(texts + questions, batch.inputs)
    for text, question, label in zip(texts, questions, batch.labels, strict=True):
        first = task.vocab_size // 2
        keys = text[(text > 0) & (text < first)].tolist()
        assert sorted(keys) == sorted(question[question > 0].tolist())
        assert sorted(text[text >= first].tolist()) == sorted(label[label != IGNORED].tolist())


def test_a_model_that_has_learnt_nothing_answers_by_chance() -> None:
    torch.manual_seed(0)
    model: BMojoForCausalLM = BMojoForCausalLM(config_of(recipe())).eval()
    found = banked_recall(model, recipe().task, 8, seed=0)
    assert max(found) < 0.5


def test_words_are_the_tokens_numbers() -> None:
    assert numbers(16)("3 0 15")["input_ids"] == [3, 0, 15]


def test_what_is_in_the_bank_alone_is_recalled() -> None:
    """Seeds differ; what is told of them is their mean."""
    runs = [load_trained(file) for file in SHIPPED]
    found = [banked_recall(run.model, run.recipe.task, 8, seed=7) for run in runs]
    assert sum(one.attached for one in found) / len(found) >= 0.9
    assert all(one.attached > 0.8 and one.without <= 0.1 for one in found)
