"""Gates are what the equations say; learning holds the share that is asked and finds the head that matters; a stopped one goes on."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.nn.functional import logsigmoid

from kmem.errors import ConfigError, CorruptBankError
from kmem.models.namm.scorer import Namm, vector
from kmem.training.namm.distillation import Distiller
from kmem.training.namm.gates import gates
from kmem.training.namm.members import kept, scores
from kmem.training.namm.recipe import DistillationConfig
from kmem.training.namm.record import record
from kmem.training.namm.recording import Recording, load_recording
from kmem.training.namm.regression import calibrated, started
from kmem.training.stored import Stored, read, write
from tests.training.namm import tiny
from tests.training.namm.test_recording import example, random_namm

NAMM = dataclasses.replace(tiny.NAMM, layers=4, heads=2)
CONFIG = DistillationConfig(steps=60, learning_rate=0.02, head_learning_rate=0.1)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    found = [folder / f"{length}.safetensors" for length in (96, 70)]
    for path in found:
        record(tiny.model(), example(int(path.stem)), Namm(NAMM)).save(path)
    return found


@pytest.fixture(scope="module")
def recording(paths: list[Path]) -> Recording:
    return load_recording(paths[0])


def test_a_gate_is_the_product_over_the_firings_that_saw_the_token(recording: Recording) -> None:
    namm = calibrated(random_namm(NAMM, seed=3), [recording], share=0.5)
    gate, _ = gates(namm, recording, 0.5)
    keep = torch.ones(recording.key.shape[:3], dtype=torch.bool)
    expected = torch.zeros(gate.shape)
    for firing in recording.firings:
        real = keep[..., : firing.end].clone()
        found = scores(namm, firing, real)
        for layer, head, token in real.nonzero().tolist():
            if token < firing.end - NAMM.protect:
                expected[layer, head, token] += logsigmoid(found[layer, head, token] / 0.5)
        keep[..., : firing.end] = real & (found >= 0)
    torch.testing.assert_close(gate, expected)
    assert torch.equal(keep, kept(namm, recording))
    assert bool((gate[..., -NAMM.protect :] == 0).all())


def test_how_fast_a_gate_rises_with_the_last_bias(recording: Recording) -> None:
    namm = started(Namm(NAMM), seed=0)
    with torch.no_grad():
        namm.net.score.bias.fill_(0.7)  # far from 0, so that a small step drops nothing
        gate, slope = gates(namm, recording, 0.5)
        namm.net.score.bias.add_(1e-3)
        moved, _ = gates(namm, recording, 0.5)
    torch.testing.assert_close((moved - gate) / 1e-3, slope, rtol=2e-2, atol=2e-3)


def test_the_head_that_answers_need_is_kept_and_the_share_held(paths: list[Path], tmp_path: Path) -> None:
    """The one whose values are twenty times as large."""
    needed, share, mine = (1, 0), 0.4, []
    for path in paths:
        known = load_recording(path)
        value = known.value.clone()
        value[needed] *= 20
        mine.append(tmp_path / path.name)
        dataclasses.replace(known, value=value).save(mine[-1])
    distiller = Distiller(tiny.model(), started(Namm(NAMM), seed=0), mine, CONFIG, share=share, seed=0)
    learnt = distiller.run()
    held = torch.stack([gates(learnt, load_recording(path), CONFIG.temperature)[0].exp().mean(dim=-1) for path in mine]).mean(dim=0)
    assert float(held.mean()) == pytest.approx(share, abs=0.05)
    assert held[needed] > 0.9
    assert held.flatten().sort().values[-2] < 0.7
    assert learnt.head_bias is not None
    assert int(learnt.head_bias.argmax()) == 2


def test_a_stopped_one_goes_on_to_the_same(paths: list[Path], tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=6)
    model, first = tiny.model(), started(Namm(NAMM), seed=0)
    whole = Distiller(model, first, paths, config, share=0.5, seed=0)
    for _ in range(3):
        whole._advance()
    write(tmp_path / "state", whole.state().tensors, whole.state().header)
    again = Distiller(model, first, paths, config, share=0.5, seed=0)
    again.restore(read(tmp_path / "state"))
    assert torch.equal(vector(again.run()), vector(whole.run()))
    assert again.losses == whole.losses
    with pytest.raises(CorruptBankError, match="distillation is damaged"):
        again.restore(Stored(tensors={}, header={"losses": []}))


def test_wrong_options() -> None:
    for wrong in ({"steps": -1}, {"learning_rate": 0.0}, {"temperature": 0.0}, {"temperature": 2.0}):
        with pytest.raises(ConfigError):
            DistillationConfig(**wrong)
