"""`kmem train memory`, as a user sees it."""

import json
from dataclasses import replace
from pathlib import Path

import yaml

from kmem.training.memory.run import CHECKPOINT, prepare
from kmem.training.stored import write
from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused
from tests.cli.test_calibrate import PNG
from tests.training.memory.tiny import TRAINING, recipe


def test_memory(kmem: Run, tmp_path: Path) -> None:
    made, file, out = recipe(tmp_path), tmp_path / "tiny.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(made.to_dict()))
    options = ("train", "memory", "--recipe", file, "--out", out)
    outcome = kmem(*options, "--dry-run")
    assert outcome.code == 0, outcome
    assert "nothing was written" in " ".join(outcome.out.split())
    assert not out.exists()

    out.mkdir()
    trainer = prepare(made, None).trainer
    for _ in range(2):
        trainer.advance()
    write(out / CHECKPOINT, trainer.state().tensors, trainer.state().header)
    refused(kmem(*options), "is not empty; pass --resume")
    refused(kmem(*options, "--resume", "--seed", "3"), "seed was 0, is now 3")
    outcome = kmem(*options, "--resume", "--json")
    assert outcome.code == 0, outcome
    report = json.loads(outcome.out)
    assert (report["steps"], report["passed_over"]) == (6, 0)
    assert (out / "curve.png").read_bytes().startswith(PNG)
    refused(kmem(*options, "--resume"), "holds a finished run")


def test_all_weights_of_a_model_given_here(kmem: Run, tmp_path: Path) -> None:
    made, file = recipe(tmp_path, training=replace(TRAINING, steps=9)), tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump({**made.to_dict(), "model": "nothing", "profile": "nothing"}))
    options = ("--recipe", file, "--model", made.model, "--profile", made.profile, "--steps", "1", "--full")
    outcome = kmem("train", "memory", *options, "--out", tmp_path / "model2")
    assert outcome.code == 0, outcome
    for said in ("held-out passages", "with memories", "share of the text's gain", "passed over"):
        assert said in outcome.out
    assert (tmp_path / "model2" / "config.json").exists()
    assert json.loads((tmp_path / "model2" / "kmem.json").read_text())["kind"] == "full"


def test_every_option_is_printed(kmem: Run) -> None:
    printed = yaml.safe_load(kmem("train", "memory", "--print-config", "--steps", "7", "--corpus", "a", "--corpus", "b").out)
    assert (printed["training"]["steps"], printed["data"]["corpora"], printed["text"]["leak"]) == (7, ["a", "b"], 0.9)
    assert yaml.safe_load(kmem("train", "memory", "--print-config", "--recipe", "paper", "--full").out)["adapter"]["kind"] == "full"


def test_bad_input(kmem: Run, tmp_path: Path) -> None:
    refused(kmem("train", "memory"), "Missing option --out")
    refused(kmem("train", "memory", "--steps", "0", "--out", tmp_path / "x"), "steps must be at least 1")
    refused(kmem("train", "memory", "--out", tmp_path / "no" / "x"), "there is no folder")
    refused(kmem("train", "memory", "--recipe", tmp_path / "no.yaml", "--out", tmp_path / "x"), "can't be read")
    refused(kmem("train", "memory", "--model", tmp_path / "no", "--out", tmp_path / "x"), "no model folder")
    (tmp_path / "r.yaml").write_text("text: {lake: 0.5}")
    refused(kmem("train", "memory", "--recipe", tmp_path / "r.yaml", "--out", tmp_path / "x"), "did you mean text.leak?")
