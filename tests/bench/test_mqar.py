"""What is counted as outside, inside and evidence; the store's size changes no weight; only runs of one recipe are compared."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kmem.bench.mqar.config import MqarConfig
from kmem.bench.mqar.measure import measure_mqar, with_store
from kmem.bench.mqar.runs import Runs, load_runs, make_missing
from kmem.errors import ConfigError, MeasurementError, SourceNotFoundError
from kmem.training.mqar.recall import recall
from kmem.training.mqar.run import load_trained, train
from kmem.training.mqar.sizing import farthest_reach, held_bytes
from kmem.training.variants import VARIANTS
from tests.training.mqar.tiny import TRAINING, recipe

SHORT = replace(TRAINING, steps=1, curriculum=())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for variant, seed in (("bmojo", 0), ("bmojo", 1), ("ssm", 0), ("ssm", 1)):
        train(recipe(variant, seed=seed, training=SHORT), folder / f"{variant}-{seed}.safetensors")
    return folder


def config(folder: Path) -> MqarConfig:
    return MqarConfig(runs=folder, variants=("bmojo", "ssm"), seeds=(0, 1), sequences=6, sweep=(2, 12), sweep_sequences=6)


@pytest.fixture(scope="module")
def runs(folder: Path) -> Runs:
    return load_runs(config(folder))


def test_shares_are_means_of_seeds_over_the_same_queries(runs: Runs, folder: Path) -> None:
    figures = measure_mqar(runs, config(folder))
    outside = figures["settings"]["outside_from"]
    assert outside == 1 + max(farthest_reach(recipe(variant)) for variant in VARIANTS)
    found = [recall(runs["ssm", seed].model, recipe().task, 6, seed=2_000_003) for seed in (0, 1)]
    assert figures["settings"]["queries_outside"] == int((found[0].distances >= outside).sum())
    shares = [float(one.right[one.distances >= outside].float().mean()) for one in found]
    assert figures["accuracy"]["ssm"] == pytest.approx(sum(shares) / 2, abs=1e-4)
    assert figures["by_seed"]["accuracy"]["ssm"] == pytest.approx({str(seed): share for seed, share in enumerate(shares)}, abs=1e-4)
    assert figures["trained_enough"] == {"bmojo": False, "ssm": False}  # after one step
    assert figures["held_bytes"]["ssm"]["total"] >= figures["held_bytes"]["bmojo"]["total"]
    assert figures["store"]["accuracy"]["bmojo"]["12"] == figures["accuracy"]["bmojo"]
    assert figures["store"]["bytes"] == {"2": 2 * 72, "12": 12 * 72}
    assert figures["by_distance"]["edges"][-1] == 64
    assert figures["missing"] == []
    assert figures["bank"]["sequences"] == 6
    assert set(figures["bank"]["attached"]) == set(figures["bank"]["without"]) == {"bmojo"}


def test_a_smaller_store_holds_less_and_has_the_same_weights(runs: Runs) -> None:
    run = runs["bmojo", 0]
    model = with_store(run, 2)
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), run.model.parameters(), strict=True))
    cache = model(torch.ones(1, 64, dtype=torch.int64), use_cache=True).past_key_values
    assert cache.states[1]["eidetic_key"].shape[2] == 2
    assert held_bytes(recipe())["eidetic"] == 12 * 72


def test_what_a_window_sees_whole_has_no_outside(runs: Runs, folder: Path) -> None:
    task = replace(recipe().task, tokens=16)
    short = {key: replace(run, recipe=replace(run.recipe, task=task)) for key, run in runs.items()}
    with pytest.raises(MeasurementError, match="sees all 16 tokens"):
        measure_mqar(short, config(folder))


def test_runs_of_other_recipes_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="holds no finished run"):
        load_runs(config(tmp_path))
    for name in ("bmojo-0", "ssm-0"):
        (tmp_path / f"{name}.safetensors").write_bytes((folder / f"{name}.safetensors").read_bytes())
    train(recipe("ssm", training=replace(SHORT, steps=2)), tmp_path / "ssm-0.safetensors")
    with pytest.raises(ConfigError, match=r"training\.steps was 1, is now 2"):
        load_runs(config(tmp_path))
    with pytest.raises(ConfigError, match=r"ssm-0.* another recipe"):
        make_missing(replace(config(tmp_path), seeds=(0,)), recipe(training=SHORT))


def test_a_run_that_is_there_is_not_made_again(folder: Path) -> None:
    assert make_missing(config(folder), recipe(training=SHORT)) == 0


@pytest.mark.parametrize("file", sorted(MqarConfig().folder.glob("*.safetensors")), ids=lambda file: file.stem)
def test_shipped_runs_are_of_their_names(file: Path) -> None:
    """All of one recipe, which is the one that `--full` trains by."""
    variant, _, seed = file.stem.rpartition("-")
    found = load_trained(file).recipe
    assert (found.variant, found.seed) == (variant, int(seed))
