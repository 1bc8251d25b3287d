"""Calibration on a tiny model: it finds what matters, goes on where it stopped, and says what each head is worth."""

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from kmem.encoder.encode import Encoder
from kmem.encoder.profiles import dense_profile, uniform8_profile
from kmem.errors import BankExistsError, ConfigError, CorruptBankError
from kmem.profile import Profile
from kmem.training.calibrate import BRACKETS, Calibrator, State
from kmem.training.checkpoint import Checkpoint
from kmem.training.config import CalibrateConfig
from kmem.training.gates import gates_of
from kmem.training.objective import Objective, loss_of
from kmem.training.passages import passages
from kmem.training.probes import target_nll
from kmem.training.ranked import rank_memories
from kmem.training.worth import worth_of_heads
from tests.tiny import byte_tokenizer, tiny_model


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(24):
        body = f"Thing number {number} is kept in box {number * 7}, near Lake {'ABCDEFGH'[number % 8]}anta, and weighs {number} kilos. " * 3
        (folder / f"{number}.txt").write_text(body)
    return str(folder)


def config(corpus: str, **options: object) -> CalibrateConfig:
    return CalibrateConfig(**{"corpus": corpus, "slots": (64,), "passages": 8, "steps": 12, "batch_size": 4, **options})  # type: ignore[arg-type]


def model() -> PreTrainedModel:
    return tiny_model()


def test_the_searched_budget_beats_the_uniform_one_on_what_it_learnt_from(corpus: str) -> None:
    calibrator = Calibrator(model(), byte_tokenizer(), config(corpus, steps=40))
    found = calibrator.run()
    (profile,) = found.profiles
    assert profile.slots == 64
    assert (profile.suffix, profile.align) in BRACKETS
    assert len(calibrator.state.bracket_losses) == len(BRACKETS)
    memories = calibrator._memories()
    batches = calibrator._learn.everything(8)
    with torch.inference_mode():
        searched, uniform = (
            sum(float(loss_of(calibrator.model, memories, batch, gates_of(budget))) for batch in batches)
            for budget in (profile.budget, uniform8_profile(4, 2).budget)
        )
    assert searched < uniform


def test_smaller_sizes_go_on_from_larger_ones_and_are_nearly_nested(corpus: str) -> None:
    found = Calibrator(model(), byte_tokenizer(), config(corpus, slots=(32, 128))).run()
    assert [profile.slots for profile in found.profiles] == [128, 32]
    large, small = (torch.tensor(profile.budget) for profile in found.profiles)
    assert int((small > large).sum()) <= 2


@pytest.mark.parametrize("stopped_at", [1, 5])
def test_a_stopped_calibration_ends_as_an_uninterrupted_one(corpus: str, tmp_path: Path, stopped_at: int) -> None:
    settings, checkpoint = config(corpus, slots=(32, 64), steps=12), Checkpoint(tmp_path / "state.json")
    whole = Calibrator(model(), byte_tokenizer(), settings).run()

    class Stop(BaseException):
        pass

    saved = 0

    def save(state: State) -> None:
        nonlocal saved
        checkpoint.save(settings, state)
        saved += 1
        if saved == stopped_at:
            raise Stop

    with pytest.raises(Stop):
        Calibrator(model(), byte_tokenizer(), settings, save=save).run()
    with pytest.raises(BankExistsError, match="--resume"):
        checkpoint.begin(settings, resume=False)
    with pytest.raises(ConfigError, match="steps was 12, is now 30"):
        checkpoint.begin(config(corpus, slots=(32, 64), steps=30), resume=True)
    state = checkpoint.begin(settings, resume=True)
    assert state.losses or state.stage == 0
    resumed = Calibrator(model(), byte_tokenizer(), settings, state=state).run()
    assert [profile.budget for profile in resumed.profiles] == [profile.budget for profile in whole.profiles]
    checkpoint.path.write_text(json.dumps({"settings": {}}))
    with pytest.raises(CorruptBankError, match="damaged"):
        checkpoint.begin(settings, resume=True)
    checkpoint.remove()
    assert checkpoint.begin(settings, resume=False) == State()


def test_more_slots_than_the_model_has(corpus: str) -> None:
    with pytest.raises(ConfigError, match="slots 2000 are more than 4 × 2 heads can keep, which is 1024"):
        Calibrator(model(), byte_tokenizer(), config(corpus, slots=(2000,)))
    for slots in ((), (8, 8), (0,)):
        with pytest.raises(ConfigError, match="slots"):
            config(corpus, slots=slots)


def test_batches_are_a_matter_of_seed_and_step(corpus: str) -> None:
    objective = Objective(byte_tokenizer(), passages(corpus, held_out=False)[:8], 3)
    again = Objective(byte_tokenizer(), passages(corpus, held_out=False)[:8], 3)
    for step in range(6):
        one, other = objective.batch(step, 8), again.batch(step, 8)
        assert torch.equal(one.rows, other.rows)
        assert one.probes == other.probes
        assert one.rows.shape[1] == (5 if step % 3 == 2 else 1)
        assert float((one.weight * torch.tensor([len(probe.target) for probe in one.probes])).sum()) == pytest.approx(1)


def test_worth_equals_leaving_each_head_out_by_hand(corpus: str) -> None:
    whole, tokenizer = model().requires_grad_(False), byte_tokenizer()
    like = uniform8_profile(4, 2)
    encoder = Encoder(whole, tokenizer, dense_profile(4, 2, like=like))
    objective = Objective(tokenizer, passages(corpus, held_out=False)[:3], 0)
    probes, rows = objective.first("continuation", 3)
    worth = worth_of_heads(whole, rank_memories(encoder, objective.references(tokenizer)), probes, rows)
    budget = [list(row) for row in encoder.profile.budget]
    budget[2][1] = 0
    without = Encoder(whole, tokenizer, Profile(name="w", budget=tuple(map(tuple, budget))))
    by_hand = 0.0
    for writer, sign in ((without, 1), (encoder, -1)):
        memories = writer.encode_tokens([probe.reference for probe in probes], list(range(3)))
        by_hand += sign * sum(target_nll(whole, probe.context, probe.target, memories.take([row])) for row, probe in enumerate(probes))
    assert float(worth[2, 1]) == pytest.approx(by_hand / sum(len(probe.target) for probe in probes), abs=1e-4)
