"""A run goes on bit for bit where it was killed, learns, passes spikes over, and leaves what peft can read."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kmem.encoder.load import load_model
from kmem.errors import ConfigError, CorruptBankError
from kmem.training.memory import trainer as trainer_module
from kmem.training.memory.objective import Loss, loss_of
from kmem.training.memory.recipe import AdapterConfig, AskedConfig, LossConfig, Recipe, TextConfig, TrainingConfig
from kmem.training.memory.run import CHECKPOINT, prepare, train
from kmem.training.memory.schedule import learning_rate
from kmem.training.memory.spikes import is_spike
from kmem.training.stored import read, write
from tests.tiny import HashEmbedder
from tests.training.memory.tiny import TRAINING, recipe

BOTH: dict[str, Any] = {"text": TextConfig(batch_size=1, tokens=96, chunk=32), "losses": LossConfig(next_token=0.5)}


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def test_it_goes_on_bit_for_bit_after_a_kill(tmp_path: Path) -> None:
    made, whole, killed = recipe(tmp_path, **BOTH), tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    report = train(made, whole, embedder=HashEmbedder())
    code = "from tests.training.memory.test_run import killed_at; killed_at(3)"
    child = subprocess.run([sys.executable, "-c", code], env={**os.environ, "RUN": str(tmp_path)}, check=False)
    assert child.returncode == -signal.SIGKILL
    assert read(killed / CHECKPOINT).header["step"] == 2
    again = train(made, killed, embedder=HashEmbedder())
    assert weights(killed) == weights(whole)
    assert (killed / "curve.jsonl").read_bytes() == (whole / "curve.jsonl").read_bytes()
    assert {**again, "seconds": 0} == {**report, "seconds": 0}
    assert sorted(path.name for path in killed.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "curve.jsonl",
        "curve.png",
        "kmem.json",
        "profile.json",
    ]


def killed_at(step: int) -> None:
    """In a process of its own: the same run, ended by SIGKILL in the middle of a step."""
    folder = Path(os.environ["RUN"])
    calls = 0

    def dying(*arguments: Any) -> Loss:
        nonlocal calls
        calls += 1
        if calls > step:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss_of(*arguments)

    pytest.MonkeyPatch().setattr(trainer_module, "loss_of", dying)
    train(recipe(folder, **BOTH), folder / "killed", embedder=HashEmbedder())


def test_memories_become_readable_and_the_curve_says_so(tmp_path: Path) -> None:
    made = recipe(tmp_path, training=replace(TRAINING, steps=60, checkpoint_steps=60, judge_steps=30))
    (tmp_path / "out").mkdir()
    report = train(made, tmp_path / "out")
    curve = [json.loads(line) for line in (tmp_path / "out" / "curve.jsonl").read_text().splitlines()]
    assert [line["step"] for line in curve if "judged" in line] == [0, 30, 60]
    told = [line["distillation"] for line in curve if "distillation" in line]
    assert sum(told[-10:]) < 0.8 * sum(told[:10])
    about = json.loads((tmp_path / "out" / "kmem.json").read_text())
    assert about["report"] == json.loads(json.dumps(report))
    assert about["recipe"] == made.to_dict()
    assert about["base"]["weights"]


def test_peft_reads_what_was_trained(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    (tmp_path / "out").mkdir()
    setting = prepare(made, None)
    setting.trainer.run()
    setting.trainer.trained.save(tmp_path / "out")
    import peft

    fresh = load_model(made.model)[0]
    with pytest.warns(FutureWarning):  # peft 0.21.2 asks transformers 5.23 by an old name
        loaded = peft.PeftModel.from_pretrained(fresh, str(tmp_path / "out"))
    ids = torch.arange(40)[None]
    with torch.inference_mode():
        ours, theirs = setting.trainer.encoder.model(ids).logits, loaded(ids).logits
        with setting.trainer.trained.untrained() as untrained:
            before = untrained(ids).logits
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert torch.equal(before, load_model(made.model)[0](ids).logits)
    assert not torch.allclose(ours, before, atol=1e-3)


def test_all_weights_become_a_model_of_their_own(tmp_path: Path) -> None:
    made = recipe(tmp_path, adapter=AdapterConfig(kind="full"), training=replace(TRAINING, steps=2, learning_rate=0.001))
    (tmp_path / "out").mkdir()
    train(made, tmp_path / "out")
    after, before = load_model(str(tmp_path / "out"))[0], load_model(made.model)[0]
    assert not torch.equal(after.lm_head.weight, before.lm_head.weight)


@pytest.mark.parametrize("spike", ["skip", "roll_back"])
def test_a_spike_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spike: str) -> None:
    made = recipe(tmp_path, training=replace(TRAINING, steps=12, spike=spike, checkpoint_steps=5))
    trainer = prepare(made, None).trainer
    monkeypatch.setattr(trainer_module, "is_spike", lambda training, loss, norm, accepted: trainer.step == 7)
    seen = {}

    def weights_now() -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in trainer.trained.parameters.items()}

    for step in range(10):
        if step in (0, 5, 7):
            seen[step] = weights_now()
        if step == 5:
            trainer._kept = trainer._tensors(copy=True)  # as `run` does at a checkpoint
        trainer.advance()
        if step == 7:
            kept = seen[7 if spike == "skip" else 5]
            assert all(torch.equal(kept[name], now) for name, now in weights_now().items())
    assert (trainer.skipped, trainer.rolled_back, trainer.scale) == ((1, 0, 1.0) if spike == "skip" else (1, 1, 0.5))
    assert [line["step"] for line in trainer.curve if "passed_over" in line] == [7]
    assert trainer.curve[8]["rate"] == pytest.approx(trainer.scale * learning_rate(made.training, 8))


def test_a_spike_is_far_off_the_median_or_not_a_number() -> None:
    training = TrainingConfig(spike_factor=3.0, spike_window=16)
    assert not is_spike(training, 99.0, 1.0, [1.0] * 7)
    assert is_spike(training, 3.01, 1.0, [1.0] * 8)
    assert not is_spike(training, 2.99, 1.0, [1.0] * 8)
    assert not is_spike(training, 8.0, 1.0, [1.0] * 50 + [3.0] * 16)
    assert not is_spike(replace(training, spike="off"), 99.0, 1.0, [1.0] * 8)
    for loss, norm in ((float("nan"), 1.0), (1.0, float("inf"))):
        assert is_spike(replace(training, spike="off"), loss, norm, [])


def test_the_rate_rises_stays_and_falls() -> None:
    training = TrainingConfig(steps=100, warmup_steps=10, decay=0.2, learning_rate=1.0)
    rates = [learning_rate(training, step) for step in range(100)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert set(rates[9:81]) == {1.0}
    assert rates[80:] == pytest.approx([1 - step / 20 for step in range(20)])
    assert learning_rate(replace(training, warmup_steps=0, decay=0.0), 99) == 1.0


def test_accumulated_batches_are_one_larger_batch(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    split = prepare(replace(made, training=replace(TRAINING, accumulate=2)), None).trainer
    split.advance()
    whole = prepare(made, None).trainer
    losses = [whole_loss(whole, number) for number in (0, 1)]
    assert split.curve[0]["loss"] == pytest.approx(sum(losses) / 2, rel=1e-6)
    assert split.curve[0]["norm"] > 0


def whole_loss(trainer: trainer_module.Trainer, number: int) -> float:
    lessons = trainer._lessons
    with torch.no_grad():
        found = loss_of(trainer.encoder, lessons.batch(number), lessons.references, trainer.recipe.losses, trainer.trained.untrained)
    return float(found.total)


def test_bfloat16_is_near_and_moments_stay_wide(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    wide, narrow = (prepare(replace(made, training=replace(TRAINING, dtype=dtype)), None).trainer for dtype in ("float32", "bfloat16"))
    assert narrow.advance() == pytest.approx(wide.advance(), rel=0.05)
    assert {moment.dtype for state in narrow.optimizer.state.values() for moment in state.values()} == {torch.float32}


def test_another_run_is_refused(tmp_path: Path) -> None:
    made, folder = recipe(tmp_path), tmp_path / "out"
    folder.mkdir()
    trainer = prepare(made, None).trainer
    trainer.advance()
    write(folder / CHECKPOINT, trainer.state().tensors, trainer.state().header)
    with pytest.raises(ConfigError, match=r"training\.steps was 6, is now 7"):
        train(replace(made, training=replace(TRAINING, steps=7)), folder)
    stored = trainer.state()
    write(folder / CHECKPOINT, {}, stored.header)
    with pytest.raises(CorruptBankError, match="The checkpoint is damaged"):
        train(made, folder)


def test_what_a_model_or_machine_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"names qkv; this model's linear layers are .*q_proj"):
        prepare(recipe(tmp_path, adapter=AdapterConfig(targets=("qkv",))), None)
    texts = TextConfig(batch_size=1, tokens=96, chunk=32, embedder="bm25")
    with pytest.raises(ConfigError, match="'bm25' has no vectors"):
        prepare(recipe(tmp_path, text=texts, asked=AskedConfig(batch_size=0)), None)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"pip install 'kmem\[train\]'"):
        prepare(recipe(tmp_path), None)


def test_recipes_are_records() -> None:
    assert Recipe().to_dict()["adapter"]["targets"] == ["q_proj", "k_proj", "v_proj", "o_proj"]
