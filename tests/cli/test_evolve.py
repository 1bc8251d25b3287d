"""`kmem evolve` and `kmem bench namm`, as a user sees them."""

import json
from pathlib import Path

import pytest
import yaml

from kmem.training.namm.run import checkpoint_of
from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused
from tests.cli.test_calibrate import PNG
from tests.training.namm.tiny import recipe, write_corpora


@pytest.fixture
def config(tiny_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe(tiny_folder, write_corpora(tmp_path)).to_dict()))
    return path


def test_what_is_printed_is_a_recipe(kmem: Run, config: Path, tmp_path: Path) -> None:
    printed = kmem("evolve", "--config", config, "--seed", 4, "--print-config")
    assert printed.code == 0
    (tmp_path / "again.yaml").write_text(printed.out)
    assert kmem("evolve", "--config", tmp_path / "again.yaml", "--print-config").out == printed.out
    assert yaml.safe_load(printed.out)["seed"] == 4
    assert yaml.safe_load(kmem("evolve", "--print-config").out)["model"] == "smollm2"


def test_a_dry_run_writes_nothing(kmem: Run, config: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    found = json.loads(kmem("evolve", "--config", config, "--dry-run", "--json").out)
    assert found["recordings"] == 2 * 3
    assert found["all_s"] > 0
    assert sorted(tmp_path.iterdir()) == before


def test_a_namm_is_learnt_and_measured(kmem: Run, config: Path, tiny_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.safetensors"
    done = kmem("evolve", "--config", config, "--out", file, "--processes", 2, "--json")
    assert done.code == 0, done
    assert json.loads(done.out)["generations"] == 4
    refused(kmem("evolve", "--config", config, "--out", file), "pass --force to replace it")
    options = ("--corpus", tmp_path / "short.jsonl", "--long-corpus", tmp_path / "long.jsonl", "--prompts", 2, "--tokens", 300)
    some = ("--task", "recall", "--share", 0.5, "--kinds", 1, "--picture", tmp_path / "n.png", "--json", tmp_path / "n.json")
    outcome = kmem("bench", "namm", "--namm", file, "--model", tiny_folder, "--transfer", tiny_folder, *options, *some)
    assert outcome.code == 0, outcome
    figures = json.loads((tmp_path / "n.json").read_text())
    assert figures["benchmark"] == "namm"
    assert figures["transfer"]["score"] == figures["score"]
    assert (tmp_path / "n.png").read_bytes().startswith(PNG)
    for said in ("score / full", "recency", "without the texts", "prose"):
        assert said in outcome.out


def test_bad_input(kmem: Run, config: Path, tmp_path: Path) -> None:
    base = ("evolve", "--config", config)
    refused(kmem(*base), "Missing option --out")
    refused(kmem(*base, "--out", tmp_path / "x.pt"), "x.pt must end in .safetensors")
    refused(kmem(*base, "--out", tmp_path / "no" / "x.safetensors"), "there is no folder")
    refused(kmem(*base, "--processes", 0, "--print-config"), "--processes must be at least 1")
    refused(kmem(*base, "--processes", 2, "--device", "cuda", "--print-config"), "--processes 2 would each put the model on cuda")
    refused(kmem("evolve", "--config", tmp_path / "none.yaml", "--dry-run"), "none.yaml", "can't be read")
    (tmp_path / "odd.yaml").write_text("size: {shar: 3}")
    refused(kmem("evolve", "--config", tmp_path / "odd.yaml", "--dry-run"), "no option size.shar", "did you mean size.share?")
    file = tmp_path / "x.safetensors"
    checkpoint_of(file).write_bytes(b"{}")
    refused(kmem(*base, "--out", file), "holds a stopped run", "--resume")
    refused(kmem("bench", "namm", "--namm", tmp_path / "no.safetensors", "--prompts", 1), "no.safetensors")
