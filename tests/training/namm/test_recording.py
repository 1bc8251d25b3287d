"""A recorded prompt: the full cache's score is the model's own, dropping is masking, and firings are what the policy is shown."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kmem.errors import CorruptBankError, UnsupportedModelError
from kmem.models.namm.config import NammConfig
from kmem.models.namm.scorer import Namm, vector, with_vector
from kmem.runtime.policies import NammPolicy
from kmem.training.namm.members import compact, evaluate, kept
from kmem.training.namm.recipe import RegressionConfig
from kmem.training.namm.record import record
from kmem.training.namm.recording import Recording, load_recording
from kmem.training.namm.regime import answered
from kmem.training.namm.regression import calibrated, regress, started, worth
from kmem.training.namm.replay import Prefix, effects, replay
from kmem.training.namm.tasks import Example, score
from tests.tiny import tiny_model
from tests.training.namm import tiny

LENGTH = 3 * tiny.NAMM.delay


def example(length: int = LENGTH) -> Example:
    ids = torch.randint(0, 256, (length + 12,), generator=torch.Generator().manual_seed(length)).tolist()
    return Example(
        task="recall", texts=tuple(ids[:length]), question=tuple(ids[length:-5]), answer=tuple(ids[-5:]), begin=1, documents=(1, 2)
    )


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record(tiny.model(), example(), Namm(tiny.NAMM))


def random_namm(config: NammConfig = tiny.NAMM, seed: int = 0) -> Namm:
    namm = Namm(config)
    numbers = torch.randn(len(vector(namm)), generator=torch.Generator().manual_seed(seed)) * 0.5
    return with_vector(namm, numbers)


def everything(recording: Recording) -> torch.Tensor:
    return torch.ones(1, *recording.key.shape[:3], dtype=torch.bool)


def test_the_full_score_is_the_models_own(recording: Recording) -> None:
    asked = recording.example
    ids = torch.tensor([[*asked.context, *asked.answer]])
    with torch.inference_mode():
        logits = tiny.model()(ids).logits[:, len(asked.context) - 1 : -1]
    assert recording.full == pytest.approx(float(score(logits, torch.tensor(asked.answer))), abs=1e-5)
    assert [firing.end for firing in recording.firings] == [32, 64, 96]
    assert torch.allclose(recording.asked.sum(-1).mean(), recording.asked.sum(-1), atol=0.6)
    assert float(recording.asked.sum(-1).max()) <= 1


def test_a_file_gives_it_back(recording: Recording, tmp_path: Path) -> None:
    recording.save(tmp_path / "one.safetensors")
    again = load_recording(tmp_path / "one.safetensors")
    assert (again.example, again.full) == (recording.example, recording.full)
    assert torch.equal(again.effect, recording.effect)
    assert torch.equal(again.firings[1].statistics, recording.firings[1].statistics)
    (tmp_path / "bad.safetensors").write_bytes(b"x")
    with pytest.raises(CorruptBankError, match=r"bad\.safetensors is damaged"):
        load_recording(tmp_path / "bad.safetensors")


def test_one_firing_is_the_true_regime() -> None:
    """With one firing at the end of the texts nothing is read between it and the question: both ways see the same."""
    model, namm = tiny.model(), random_namm()
    recorded = record(model, example(tiny.NAMM.delay), namm)
    namm = calibrated(namm, [recorded], share=0.6)
    scores, shares = evaluate(model, [namm, Namm(tiny.NAMM)], recorded)
    mine = kept(namm, recorded)
    assert 0.2 < float(mine.float().mean()) < 0.95
    assert shares.tolist() == pytest.approx([float(mine.float().mean()), 1.0])
    assert float(scores[1]) == pytest.approx(recorded.full, abs=1e-6)
    length = len(recorded.example.texts)
    policy = NammPolicy(namm)
    # The whole context is longer than the texts: the prompt is read in two pieces, so that its protected end is the texts' own.
    truth = answered(model, recorded.example, policy)
    assert truth.score == pytest.approx(float(scores[0]), abs=1e-5)
    extra = len(recorded.example.question)
    assert truth.share * truth.read_tokens == pytest.approx(float(shares[0]) * length + extra)


def test_what_was_dropped_once_stays_dropped(recording: Recording) -> None:
    namm = calibrated(random_namm(seed=2), [recording], share=0.5)
    mine = kept(namm, recording)
    assert bool(mine[..., -tiny.NAMM.protect :].all())
    first = kept(namm, replace(recording, firings=recording.firings[:1]))
    assert not bool((mine & ~first)[..., : recording.firings[0].end].any())
    assert float(first.float().mean()) > float(mine.float().mean())


def test_what_is_gone_is_not_looked_at(recording: Recording) -> None:
    namm, firing = random_namm(), recording.firings[0]
    ages = torch.arange(firing.end - 1, -1, -1).expand(firing.statistics.shape[:3])
    features = namm.features(firing.statistics, ages)
    real = torch.rand(ages.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    real[0, 0] = True
    found = compact(namm, features, real, None)
    assert torch.allclose(found[real], namm(features, real)[real], atol=1e-5)
    assert bool((found[~real] < -1e30).all())


def test_effects_are_slopes(recording: Recording) -> None:
    model = tiny_model(dtype=torch.float64)
    recorded = record(model, example(), Namm(tiny.NAMM))
    place = tuple(int(index) for index in (recorded.effect == recorded.effect.max()).nonzero()[0])
    step = 0.02  # the model's norms are in float32

    def loss(shift: float) -> float:
        gate = torch.zeros(recorded.key.shape[:3], dtype=torch.float64)
        gate[place] = shift
        prefix = Prefix(key=recorded.key, value=recorded.value, keep=everything(recorded), gate=gate)
        asked = recorded.example
        tail = torch.tensor([[*asked.question, *asked.answer]])
        from kmem.encoder.hook import handling, hooked

        places = torch.arange(len(asked.texts), len(asked.texts) + tail.shape[1])[None]
        with torch.inference_mode(), hooked(model), handling(prefix):
            logits = model(tail, position_ids=places, attention_mask=torch.ones_like(tail), use_cache=False).logits
        wanted = torch.tensor(asked.answer)
        return float(torch.nn.functional.cross_entropy(logits[0, -len(wanted) - 1 : -1], wanted, reduction="sum"))

    slope = (loss(step) - loss(-step)) / (2 * step)
    assert float(recorded.effect[place]) == pytest.approx(abs(slope), rel=0.02)


def test_masked_tokens_change_what_is_read(recording: Recording) -> None:
    keep = everything(recording).repeat(2, 1, 1, 1)
    keep[1, ..., 4:] = False
    both = replay(tiny.model(), recording.example, Prefix(key=recording.key, value=recording.value, keep=keep))
    assert float(both[0]) == pytest.approx(recording.full, abs=1e-6)
    assert float(both[1]) != pytest.approx(recording.full, rel=1e-3)


@pytest.mark.parametrize("target", ["effect", "attention"])
def test_a_regression_learns_worth_and_keeps_the_share(recording: Recording, target: str) -> None:
    """Here a token's worth is how much it was read, which its features say."""
    config = RegressionConfig(steps=150, batch_size=4, learning_rate=0.01, target=target, asked=1.0)
    firing, namm = recording.firings[-1], Namm(tiny.NAMM)
    namm.collect(firing.statistics, torch.ones(firing.later.shape, dtype=torch.bool))
    read = firing.statistics[..., 0] + 1e-4
    known = replace(recording, effect=read, asked=read, firings=(firing,))
    learnt, losses = regress(namm, [known], config, share=0.5, seed=0)
    assert sum(losses[-30:]) < 0.8 * sum(losses[:30])
    ages = torch.arange(firing.end - 1, -1, -1).expand(firing.statistics.shape[:3])
    found = learnt(learnt.features(firing.statistics, ages), torch.ones_like(ages, dtype=torch.bool))
    together = torch.stack([found.flatten(), worth(known, firing, config).flatten()])
    assert float(torch.corrcoef(together)[0, 1]) > 0.5
    assert float(kept(learnt, known).float().mean()) == pytest.approx(0.5, abs=0.08)
    assert float(kept(calibrated(learnt, [known], share=0.3), known).float().mean()) == pytest.approx(0.3, abs=0.08)
    again, _ = regress(namm, [known], config, share=0.5, seed=0)
    assert torch.equal(vector(again), vector(learnt))


def test_a_start_that_gradients_can_leave() -> None:
    fresh = started(Namm(tiny.NAMM), seed=0)
    features = torch.randn(2, 2, 8, tiny.NAMM.width)
    assert float(fresh(features, torch.ones(2, 2, 8, dtype=torch.bool)).detach().abs().max()) == 0
    assert float(vector(fresh).abs().max()) > 0


def test_a_sliding_window_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="sliding window"):
        record(tiny_model("mistral, window 16"), example(), Namm(tiny.NAMM))


def test_effects_need_a_gate(recording: Recording) -> None:
    with pytest.raises(AssertionError):
        effects(tiny.model(), recording.example, Prefix(key=recording.key, value=recording.value, keep=everything(recording)))
