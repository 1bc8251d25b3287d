"""A run goes on bit for bit where it stopped; what a batch holds; what is kept of it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kmem.errors import ConfigError, CorruptBankError, UnknownNameError
from kmem.training.mqar.generate import IGNORED
from kmem.training.mqar.recall import recall
from kmem.training.mqar.run import checkpoint_of, load_trained, train
from kmem.training.mqar.stages import stage
from kmem.training.mqar.trainer import Trainer, query_loss
from kmem.training.stored import read, write
from kmem.training.trainer import learning_rate
from tests.training.mqar.tiny import TRAINING, recipe


def test_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = Trainer(recipe())
    whole.run()
    stopped = Trainer(recipe())
    for _ in range(3):
        stopped.advance()
    write(tmp_path / "a.safetensors", stopped.state().tensors, stopped.state().header)
    torch.manual_seed(1)  # whatever a process does between
    torch.rand(3)
    resumed = Trainer(recipe())
    resumed.restore(read(tmp_path / "a.safetensors"))
    resumed.run()
    assert resumed.losses == whole.losses
    assert len(whole.losses) == 6
    for one, two in zip(whole.parameters.values(), resumed.parameters.values(), strict=True):
        assert torch.equal(one, two)
    moments = (trainer.optimizer.state[trainer.parameters["lm_head.weight"]] if "lm_head.weight" in trainer.parameters else
               trainer.optimizer.state[trainer.parameters["model.embed_tokens.weight"]] for trainer in (whole, resumed))  # fmt: skip
    one, two = moments
    assert all(torch.equal(one[kind], two[kind]) for kind in ("exp_avg", "exp_avg_sq", "step"))


def test_seeds_and_variants_differ_and_learning_lowers_the_loss() -> None:
    first = Trainer(recipe())
    assert not torch.equal(*(trainer.parameters["model.embed_tokens.weight"] for trainer in (first, Trainer(recipe(seed=1)))))
    before = float(query_loss(first.model, first.batch()).detach())
    batch = first.batch()
    for _ in range(20):
        loss = query_loss(first.model, batch)
        first.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation there
        first.optimizer.step()
    assert float(query_loss(first.model, batch).detach()) < before - 0.1


def test_a_step_without_a_finite_gradient_changes_nothing() -> None:
    trainer = Trainer(recipe())
    trainer.advance()
    with torch.no_grad():
        trainer.model.model.norm.weight[0] = torch.inf
    before = {name: parameter.clone() for name, parameter in trainer.parameters.items()}
    trainer.advance()
    assert (trainer.step, trainer.skipped) == (2, 1)
    assert all(torch.equal(before[name], parameter) for name, parameter in trainer.parameters.items())


def test_the_curriculum_is_shorter_with_as_many_tokens() -> None:
    early, late = stage(recipe(), 2), stage(recipe(), 3)
    assert (early.task.pairs, early.task.tokens, early.batch_size) == (2, 32, 4)
    assert (late.task, late.batch_size) == (recipe().task, 2)
    none = replace(TRAINING, curriculum=())
    assert stage(recipe(training=none), 0).task == recipe().task


def test_the_rate_rises_then_falls() -> None:
    rates = [learning_rate(TRAINING, step) for step in range(7)]
    assert rates[:3] == [0.0025, 0.005, 0.005]
    assert rates[4] == pytest.approx(0.0025)
    assert rates[6] == pytest.approx(0.0)


def test_a_run_is_kept_and_loaded(tmp_path: Path) -> None:
    file = tmp_path / "tiny.safetensors"
    report = train(recipe(), file)
    assert not checkpoint_of(file).exists()
    loaded = load_trained(file)
    assert (loaded.recipe, loaded.report) == (recipe(), report)
    assert 0 <= report["accuracy"] <= 1
    found = recall(loaded.model, loaded.recipe.task, 5, seed=1)
    assert len(found.right) == 5 * 4
    inside, beyond = found.count(most=6), found.count(least=7)
    assert inside + beyond == 20
    shares = (found.accuracy(most=6) or 0.0) * inside + (found.accuracy(least=7) or 0.0) * beyond
    assert shares == pytest.approx(float(found.right.sum()), abs=1e-4)
    assert found.accuracy(least=99) is None


def test_a_killed_run_goes_on_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "tiny.safetensors"

    class Killed(Exception):
        pass

    def kill(stage: str, done: int, total: int) -> None:
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        train(recipe(), file, progress=kill)
    assert read(checkpoint_of(file)).header["step"] == 4
    with pytest.raises(ConfigError, match=r"seed was 0, is now 1"):
        train(recipe(seed=1), file)
    steps: list[int] = []
    train(recipe(), file, progress=lambda name, done, total: steps.append(done) if name == "bmojo 0" else None)
    assert steps == [4, 5, 6]
    train(recipe(), tmp_path / "whole.safetensors")
    kept = (read(file).tensors, read(tmp_path / "whole.safetensors").tensors)
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[1])


def test_damaged_files(tmp_path: Path) -> None:
    file = tmp_path / "bad.safetensors"
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(CorruptBankError, match=r"bad\.safetensors is damaged"):
        load_trained(file)
    write(file, {"a": torch.zeros(1)}, {"recipe": recipe().to_dict(), "report": {}})
    with pytest.raises(CorruptBankError, match=r"bad\.safetensors is damaged"):
        load_trained(file)
    with pytest.raises(CorruptBankError, match="delete it"):
        Trainer(recipe()).restore(read(file))


def test_labels_are_ignored_but_at_queries() -> None:
    batch = Trainer(recipe()).batch()
    assert int((batch.labels != IGNORED).sum()) == 4 * 2


def test_slow_variants_get_more_steps() -> None:
    training = replace(TRAINING, slow=("ssm",), slow_steps=8)
    steps = {name: Trainer(recipe(name, training=training)).schedule.steps for name in ("bmojo", "ssm")}
    assert steps == {"bmojo": 6, "ssm": 8}
    with pytest.raises(UnknownNameError, match="'ssn'"):
        replace(TRAINING, slow=("ssn",))
