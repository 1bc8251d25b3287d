"""Texts are parted by hash, perplexity is what it says, and a comparison goes on where it stopped."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kmem.errors import ConfigError, SourceNotFoundError, UnknownNameError
from kmem.models.bmojo import BMojoForCausalLM
from kmem.models.bmojo.equal import parameters
from kmem.training.lm.perplexity import perplexity
from kmem.training.lm.picture import draw_perplexity
from kmem.training.lm.recipe import DataConfig, Recipe, checked, recipe_of
from kmem.training.lm.run import begun, checkpoint_of, compare, figures, file_of
from kmem.training.lm.texts import read_texts
from kmem.training.lm.trainer import Trainer, config_of
from kmem.training.stored import read, write
from tests.models.bmojo.shapes import model, tokens
from tests.training.lm.tiny import TRAINING, data, recipe


def test_a_document_is_learnt_from_or_judged_by(tmp_path: Path) -> None:
    given = data(tmp_path)
    texts = read_texts(given, least=16)
    assert texts.judged.shape == (256,)
    assert int((texts.learnt == 0).sum()) > 20  # so many documents end
    assert texts.bytes_per_token == pytest.approx(1, abs=0.02)
    first = texts.judged[: int((texts.judged == 0).nonzero()[0])].tolist()
    learnt = texts.learnt.tolist()
    assert not any(learnt[at : at + len(first)] == first for at in range(len(learnt)))
    with pytest.raises(SourceNotFoundError, match="tokens to learn from"):
        read_texts(replace(given, judged_tokens=100_000), least=16)


def test_batches_are_a_matter_of_seed_and_step(tmp_path: Path) -> None:
    texts = read_texts(data(tmp_path), least=16)
    one = texts.batch(3, 16, seed=0, step=5)
    assert one.shape == (3, 16)
    assert torch.equal(one, texts.batch(3, 16, seed=0, step=5))
    assert not torch.equal(one, texts.batch(3, 16, seed=0, step=6))


@torch.no_grad()
def test_perplexity_counts_the_same_tokens_at_every_length() -> None:
    reader, stream = model(variant="transformer"), tokens(1, 64)[0]
    for length in (16, 32):
        total = 0.0
        for piece in stream.view(-1, length):
            losses = -reader(piece[None]).logits[0, :-1].log_softmax(-1).gather(1, piece[1:, None])[:, 0]
            total += sum(float(loss) for place, loss in enumerate(losses, 1) if place % 16)
        assert perplexity(reader, stream, length, every=16) == pytest.approx(math.exp(total / 60), rel=1e-6)


def test_a_model_that_knows_nothing_is_as_surprised_as_there_are_tokens() -> None:
    reader = model()
    with torch.no_grad():
        reader.lm_head.weight.zero_()
    assert perplexity(reader, tokens(1, 64)[0], 32, every=16) == pytest.approx(50, rel=1e-5)
    assert not reader.training


def test_models_have_equal_parameters_and_learn_alike(tmp_path: Path) -> None:
    made = recipe(tmp_path, "bmojo", "hybrid", "transformer")
    numbers = [parameters(config_of(made, variant)) for variant in made.variants]
    assert max(numbers) < 1.03 * min(numbers)
    assert config_of(made, "hybrid").mixers == ["ssm", "swa"]


def test_it_goes_on_bit_for_bit_and_finished_runs_are_kept(tmp_path: Path) -> None:
    made, folder = recipe(tmp_path, "bmojo", "transformer"), tmp_path / "runs"
    folder.mkdir()
    texts = read_texts(made.data, least=16)
    whole, stopped = Trainer(made, "bmojo", texts), Trainer(made, "bmojo", texts)
    whole.run()
    for _ in range(2):
        stopped.advance()
    write(checkpoint_of(folder, "bmojo"), stopped.state().tensors, stopped.state().header)
    assert begun(folder, made)
    found = compare(made, folder)
    assert not checkpoint_of(folder, "bmojo").exists()
    assert found["models"]["bmojo"]["losses"] == [pytest.approx(sum(whole.losses) / 4, abs=1e-4)]
    kept = read(file_of(folder, "bmojo")).tensors
    assert all(torch.equal(kept[name], parameter.detach().half()) for name, parameter in whole.parameters.items())
    assert list(found["models"]["transformer"]["perplexity"]) == ["16", "32", "64", "128"]
    assert found["over_transformer"] > 0
    assert found["at_4x_over_own"] > 0

    before = file_of(folder, "bmojo").stat().st_mtime_ns
    assert compare(made, folder)["models"] == found["models"]
    assert file_of(folder, "bmojo").stat().st_mtime_ns == before
    draw_perplexity(found, tmp_path / "lm.png")
    assert (tmp_path / "lm.png").stat().st_size > 1000
    with pytest.raises(ConfigError, match=r"bmojo\.safetensors was made with other settings: training\.steps was 4, is now 5"):
        compare(replace(made, training=replace(TRAINING, steps=5)), folder)


def test_learning_lowers_the_perplexity(tmp_path: Path) -> None:
    made = recipe(tmp_path, training=replace(TRAINING, steps=30, learning_rate=0.01))
    texts = read_texts(made.data, least=16)
    trainer = Trainer(made, "bmojo", texts)
    before = perplexity(trainer.model, texts.judged, 16, every=16)
    trainer.run()
    assert perplexity(trainer.model, texts.judged, 16, every=16) < 0.5 * before
    assert isinstance(trainer.model, BMojoForCausalLM)
    assert trainer.model.training


def test_figures_are_of_bmojo() -> None:
    reports = {
        "bmojo": {"perplexity": {"256": 100.0, "512": 97.0, "1024": 95.0, "2048": 94.0}},
        "transformer": {"perplexity": {"256": 98.0, "512": 150.0, "1024": 300.0, "2048": 500.0}},
    }
    found = figures(reports)
    assert found["over_transformer"] == pytest.approx(100 / 98, abs=1e-4)
    assert found["at_4x_over_own"] == pytest.approx(0.95)
    assert "over_transformer" not in figures({"transformer": reports["transformer"]})


def test_the_shipped_recipe_is_the_defaults_spelt_out() -> None:
    assert checked(recipe_of("vital")) == Recipe()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="lstm"):
        Recipe(variants=("lstm",))
    with pytest.raises(ConfigError, match="different names"):
        Recipe(variants=("ssm", "ssm"))
    with pytest.raises(ConfigError, match="must be a multiple of 2048"):
        Recipe(data=DataConfig(judged_tokens=5000))
