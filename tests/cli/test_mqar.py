"""`kmem train mqar` and `kmem bench mqar`, as a user sees them."""

import json
from pathlib import Path

import pytest
import yaml

from kmem.training.mqar.run import checkpoint_of
from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused
from tests.cli.test_calibrate import PNG
from tests.training.mqar.tiny import recipe


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe().to_dict()))
    return path


def test_what_is_printed_is_a_recipe(kmem: Run, tiny: Path, tmp_path: Path) -> None:
    printed = kmem("train", "mqar", "--recipe", tiny, "--variant", "ssm", "--seed", 4, "--steps", 9, "--print-config")
    assert printed.code == 0
    (tmp_path / "again.yaml").write_text(printed.out)
    again = kmem("train", "mqar", "--recipe", tmp_path / "again.yaml", "--print-config")
    assert again.out == printed.out
    found = yaml.safe_load(printed.out)
    assert (found["variant"], found["seed"], found["training"]["steps"]) == ("ssm", 4, 9)
    assert yaml.safe_load(kmem("train", "mqar", "--print-config").out)["task"]["layout"] == "scattered"


def test_a_dry_run_writes_nothing(kmem: Run, tiny: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    found = json.loads(kmem("train", "mqar", "--recipe", tiny, "--dry-run", "--json").out)
    assert found["held_bytes"]["eidetic"] == 12 * 72
    assert found["all_s"] == pytest.approx(6 * found["step_s"])
    assert "parameters" in kmem("train", "mqar", "--recipe", tiny, "--dry-run").out
    assert sorted(tmp_path.iterdir()) == before


def test_runs_are_trained_and_compared(kmem: Run, tiny: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    done = kmem("train", "mqar", "--recipe", tiny, "--out", runs / "bmojo-0.safetensors", "--json")
    assert done.code == 0, done
    assert json.loads(done.out)["skipped_steps"] == 0
    wanted = ("bench", "mqar", "--runs", runs, "--seeds", "0", "--sequences", 4)
    some = ("--variant", "bmojo", "--variant", "oldest_m", "--variant", "transformer")
    alone = kmem(*wanted, *some)
    assert "Not there: oldest_m-0, transformer-0" in alone.out
    kept = (runs / "bmojo-0.safetensors").stat().st_mtime_ns
    outcome = kmem(*wanted, *some, "--full", "--recipe", tiny, "--json", tmp_path / "m.json", "--picture", tmp_path / "m.png")
    assert outcome.code == 0, outcome
    assert (runs / "bmojo-0.safetensors").stat().st_mtime_ns == kept
    assert sorted(path.name for path in runs.iterdir()) == [f"{name}-0.safetensors" for name in ("bmojo", "oldest_m", "transformer")]
    figures = json.loads((tmp_path / "m.json").read_text())
    assert figures["benchmark"] == "mqar"
    assert set(figures["accuracy"]) == set(figures["in_window"]) == {"bmojo", "oldest_m", "transformer"}
    assert set(figures["store"]["accuracy"]) == {"bmojo", "oldest_m"}
    assert (tmp_path / "m.png").read_bytes().startswith(PNG)
    for said in ("outside", "in its window", "tokens stored", "transformer"):
        assert said in outcome.out
    assert json.loads(kmem(*wanted, *some, "--json", "-").out)["accuracy"] == figures["accuracy"]


def test_bad_input(kmem: Run, tiny: Path, tmp_path: Path) -> None:
    base = ("train", "mqar", "--recipe", tiny)
    refused(kmem(*base), "--out")
    refused(kmem(*base, "--out", tmp_path / "x.pt"), "x.pt must end in .safetensors")
    refused(kmem(*base, "--out", tmp_path / "no" / "x.safetensors"), "there is no folder")
    refused(kmem(*base, "--variant", "bmoj", "--print-config"), "'bmoj'", "bmojo_f")
    refused(kmem(*base, "--steps", 0, "--print-config"), "steps must be at least 1, not 0")
    refused(kmem("train", "mqar", "--recipe", tmp_path / "none.yaml", "--dry-run"), "none.yaml", "can't be read")
    (tmp_path / "odd.yaml").write_text("task: {pair: 3}")
    refused(kmem("train", "mqar", "--recipe", tmp_path / "odd.yaml", "--dry-run"), "no option task.pair", "did you mean task.pairs?")
    file = tmp_path / "x.safetensors"
    checkpoint_of(file).write_bytes(b"{}")
    refused(kmem(*base, "--out", file), "holds a stopped run", "--resume")
    refused(kmem(*base, "--out", file, "--resume"), "is damaged", "train again")
    file.write_bytes(b"")
    refused(kmem(*base, "--out", file), "is there already", "--force")
    refused(kmem("bench", "mqar", "--runs", tmp_path), "holds no finished run", "--full")
    refused(kmem("bench", "mqar", "--runs", tmp_path, "--seeds", "a"), "'a'")
    refused(kmem("bench", "mqar", "--runs", tmp_path / "none"), "There is no folder", "none")
    refused(
        kmem("bench", "mqar", "--seeds", "7", "--variant", "ssm"),
        "What is shipped",
        "bmojo-0",
        "--full --variant ssm --seeds 7 --runs mqar-runs",
    )
    refused(kmem("bench", "mqar", "--variant", "bmoj"), "Unknown variant 'bmoj'; there are bmojo,")
    refused(kmem("bench", "mqar", "--sequences", 0), "sequences must be at least 1")
    refused(kmem("bench", "mqar", "--recipe", tiny), "--full")
    refused(kmem("bench", "mqar", "--picture", tmp_path / "x.jpg"), "x.jpg must end in .png")
