"""`kmem bench namm` on tiny models: every figure, equal sizes, paired intervals, and what is forgotten."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from kmem.bench.namm.config import NammBenchConfig
from kmem.bench.namm.intervals import normalised, paired95
from kmem.bench.namm.measure import budget_of, measure_namm
from kmem.bench.namm.noted import Noted
from kmem.bench.namm.picture import draw_sizes
from kmem.errors import ConfigError
from kmem.models.namm.checkpoint import save_namm
from kmem.models.namm.scorer import Namm, vector, with_vector
from kmem.runtime.manage import manage
from kmem.runtime.policies import POLICIES, NammPolicy
from kmem.training.namm.record import record
from kmem.training.namm.regression import calibrated
from kmem.training.namm.tasks import examples
from tests.tiny import byte_tokenizer
from tests.training.namm import tiny


@cache
def forgetful() -> Namm:
    """Of no sense, but it keeps about 0.7."""
    namm = Namm(tiny.NAMM)
    namm = with_vector(namm, torch.randn(len(vector(namm)), generator=torch.Generator().manual_seed(1)) * 0.5)
    [example] = examples(byte_tokenizer(), "recall", tiny.PASSAGES, 1, tokens=(300,), seed=5)
    return calibrated(namm, [record(tiny.model(), example, namm)], share=0.7)


def test_every_figure_is_there(tmp_path: Path) -> None:
    save_namm(forgetful(), tmp_path / "n.safetensors")
    tasks = replace(tiny.write_corpora(tmp_path), names=("recall",), tokens=(300,), prompts=2)
    chosen = NammBenchConfig(namm=str(tmp_path / "n.safetensors"), tasks=tasks, shares=(0.5,), kinds=1, cost_tokens=96, attached=5)
    config = replace(chosen, curve_prompts=1)
    figures = measure_namm(tiny.model(), byte_tokenizer(), config)
    assert set(figures["score"]) == {"full", "recency", "h2o", "l2", "namm"}
    assert figures["score"]["full"] == 1.0
    fraction = figures["cache_fraction"]
    assert 0.4 < fraction["namm"] < 0.95
    for name in ("recency", "h2o", "l2"):
        assert fraction[name] == pytest.approx(fraction["namm"], abs=0.01)
        low, high = figures["paired95"][name]
        assert low <= figures["score"]["namm"] - figures["score"][name] <= high
        assert figures["by_size"][name][0]["cache_fraction"] == pytest.approx(0.5, abs=0.01)
        assert figures["resident_share"][name] == pytest.approx(fraction[name], abs=0.02)
    assert set(figures["tasks"]) == {"recall"}
    assert set(figures["tasks"]["recall"]) == {"full", "recency", "h2o", "l2", "namm", "guess"}
    assert [len(layers) for layers in figures["kept_by_kind"].values()] == [4, 4, 4]
    assert len(figures["kept_by_layer"]) == 4
    assert set(figures["scoring_share"]) == {*figures["score"], "prefill_0.09375k", "decode"}
    assert all(0 < figures["scoring_share"][name] < 1 for name in ("prefill_0.09375k", "decode"))
    attached = figures["attached"]
    assert attached["questions"] == 5
    assert attached["slots"] == 0.4
    assert set(attached["share_of_five"]) == {"namm", "h2o", "right", "wrong"}
    assert all(0 <= kept <= 1 for kept in attached["right_kept"].values())
    assert set(attached["share_of_text_gain"]) == {"five", "namm", "h2o", "right", "wrong"}
    draw_sizes(figures, tmp_path / "sizes.png")
    assert (tmp_path / "sizes.png").stat().st_size > 1000


def test_paired_intervals() -> None:
    full = {"a": [0.5, 0.5, 0.5, 0.5], "b": [0.2, 0.4, 0.2, 0.4]}
    worse = {"a": [0.4, 0.1, 0.3, 0.2], "b": [0.1, 0.2, 0.1, 0.2]}
    assert normalised(full, full) == 1
    assert normalised(worse, full) == pytest.approx((0.5 + 0.5) / 2)
    assert paired95(full, full, full) == (0, 0)
    low, high = paired95(full, worse, full)
    assert 0 < low < 0.5 < high < 1


def test_a_budget_leaves_the_share_of_the_prompt() -> None:
    policy = POLICIES["recency"]()
    assert budget_of(policy, 0.5, 1000) == 500 - 1000 % policy.delay
    assert budget_of(policy, 0.001, 1000) == policy.protect


def test_what_is_noted_is_what_is_kept() -> None:
    noted = Noted(NammPolicy(forgetful()))
    ids = torch.randint(0, 256, (1, 4 * tiny.NAMM.delay), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), manage(tiny.model(), noted) as managed:
        tiny.model()(ids, use_cache=True)
    kept = [noted.kept[layer] for layer in range(4)]
    for own, counts in zip(kept, managed.kept(), strict=True):
        assert own.shape == (2, ids.shape[1])
        stays = own.clone()
        stays[:, -noted.protect :] = True
        assert stays.sum(-1).tolist() == counts[0]


def test_shares_that_are_none() -> None:
    with pytest.raises(ConfigError, match="shares must lie between 0 and 1"):
        NammBenchConfig(shares=(1.5,))
