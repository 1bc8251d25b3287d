"""`kmem train lm`, as a user sees it."""

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused
from tests.cli.test_calibrate import PNG
from tests.training.lm.tiny import recipe


def test_lm(kmem: Run, tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(recipe(tmp_path, "bmojo", "transformer").to_dict()))
    options = ("train", "lm", "--recipe", file, "--out", tmp_path / "runs")
    outcome = kmem(*options, "--variant", "bmojo")
    assert outcome.code == 0, outcome
    refused(kmem(*options), "holds runs of these models; pass --resume")
    outcome = kmem(*options, "--resume", "--json", tmp_path / "l.json", "--picture", tmp_path / "l.png")
    assert outcome.code == 0, outcome
    figures = json.loads((tmp_path / "l.json").read_text())
    assert (figures["benchmark"], list(figures["models"])) == ("lm", ["bmojo", "transformer"])
    assert (tmp_path / "l.png").read_bytes().startswith(PNG)
    for said in ("perplexity of held-out documents", "transformer", "bits a byte", "over transformer", "at most 1.03"):
        assert said in " ".join(outcome.out.split())


def test_every_option_is_printed(kmem: Run) -> None:
    printed = yaml.safe_load(kmem("train", "lm", "--print-config", "--steps", "7", "--variant", "ssm").out)
    assert (printed["training"]["steps"], printed["variants"], printed["data"]["vocab_size"]) == (7, ["ssm"], 4096)


def test_a_dry_run_trains_nothing_and_reads_no_corpus(kmem: Run, tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    options = recipe(tmp_path, "bmojo", "hybrid").to_dict()
    file.write_text(yaml.safe_dump({**options, "data": {**options["data"], "corpora": ["corpus:foldoc"]}}))
    before = sorted(tmp_path.iterdir())
    found = json.loads(kmem("train", "lm", "--recipe", file, "--dry-run", "--json", "-").out)
    assert list(found["models"]) == ["bmojo", "hybrid"]
    sizes = [model["parameters"] for model in found["models"].values()]
    assert max(sizes) < 1.03 * min(sizes)
    for model in found["models"].values():
        assert model["all_s"] == pytest.approx(4 * model["step_s"])
    assert found["all_s"] == pytest.approx(sum(model["all_s"] for model in found["models"].values()))
    told = kmem("train", "lm", "--recipe", file, "--dry-run").out
    assert "no model was trained" in told
    assert "hybrid" in told
    assert sorted(tmp_path.iterdir()) == before


def test_bad_input(kmem: Run, tmp_path: Path) -> None:
    refused(kmem("train", "lm"), "Missing option --out")
    refused(kmem("train", "lm", "--variant", "lstm", "--out", tmp_path / "x"), "lstm", "transformer")
    refused(kmem("train", "lm", "--steps", "0", "--out", tmp_path / "x"), "steps must be at least 1")
    refused(kmem("train", "lm", "--out", tmp_path / "no" / "x"), "there is no folder")
    refused(kmem("train", "lm", "--recipe", tmp_path / "no.yaml", "--out", tmp_path / "x"), "can't be read")
