"""A whole run on tiny models: what it leaves, that a killed one goes on to the same, and that processes change nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kmem.errors import ConfigError, CorruptBankError
from kmem.models.namm.checkpoint import load_namm, notes_of
from kmem.models.namm.scorer import vector
from kmem.training.namm.run import begun, checkpoint_of, curve_of, evolve, recordings_of
from tests.tiny import save_tiny_model
from tests.training.namm.tiny import recipe, write_corpora


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    save_tiny_model(folder / "model")
    evolve(recipe(folder / "model", write_corpora(folder)), folder / "out.safetensors")
    return folder


def test_what_a_run_leaves(whole: Path) -> None:
    file = whole / "out.safetensors"
    notes = notes_of(file)
    assert load_namm(file).config.delay == 128
    assert float(load_namm(file).count) > 0
    assert not begun(file)
    lines = [json.loads(line) for line in curve_of(file).read_text().splitlines()]
    generations = [line for line in lines if "members" in line]
    assert [(line["stage"], line["generation"]) for line in generations] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert set(generations[0]["mean"]["tasks"]) == {"recall"}
    assert set(generations[-1]["mean"]["tasks"]) == {"recall", "article"}
    judged = [line["judged"]["fitness"] for line in lines if "judged" in line]
    assert len(judged) == 3
    assert notes["report"]["judged"]["best"]["fitness"] == max(judged)
    assert set(notes["report"]["true_regime"]["score_of_full"]) == {"recall", "article"}
    assert (whole / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("stop", [("record", 4), ("evolve", 1), ("evolve", 3)])
def test_a_killed_run_goes_on_to_the_same(whole: Path, tmp_path: Path, stop: tuple[str, int]) -> None:
    file = tmp_path / "out.safetensors"
    given = recipe(whole / "model", write_corpora(whole))

    def kill(stage: str, done: int, total: int) -> None:
        if (stage, done) == stop:
            raise Killed

    with pytest.raises(Killed):
        evolve(given, file, progress=kill)
    assert begun(file)
    assert not file.exists()
    evolve(given, file)
    assert vector(load_namm(file)).tolist() == vector(load_namm(whole / "out.safetensors")).tolist()
    assert curve_of(file).read_text() == curve_of(whole / "out.safetensors").read_text()
    assert not recordings_of(file).exists()


def test_a_model_of_another_shape_is_refused(whole: Path, tmp_path: Path) -> None:
    given = recipe(whole / "model", write_corpora(whole))
    with pytest.raises(ConfigError, match=r"are 30 and 3, but .* has 4 layers of 2 key-value heads"):
        evolve(replace(given, namm=replace(given.namm, layers=30, heads=3)), tmp_path / "out.safetensors")
    assert not begun(tmp_path / "out.safetensors")


def test_another_recipe_or_a_damaged_file_is_refused(whole: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.safetensors"
    given = recipe(whole / "model", write_corpora(whole))

    def kill(stage: str, done: int, total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        evolve(given, file, progress=kill)
    with pytest.raises(ConfigError, match=r"seed was 0, is now 1; give the same again"):
        evolve(replace(given, seed=1), file)
    checkpoint_of(file).write_bytes(b"{}")
    with pytest.raises(CorruptBankError, match="is damaged"):
        evolve(given, file)
