"""`--adapter` and `--allow-mismatch`, as a user sees them."""

import json
from pathlib import Path

import pytest

from kmem.training.memory.run import train
from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused
from tests.training.memory.tiny import recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adapter")
    train(recipe(root), root / "adapter")
    return root


def test_a_bank_belongs_to_its_adapter(kmem: Run, trained: Path, tmp_path: Path) -> None:
    model, adapter, lakes = trained / "model", trained / "adapter", trained / "lakes.jsonl"
    build = ("build", lakes, "--model", model, "--dtype", "float32")
    assert f"model: {model} + {adapter}" in kmem(*build, "--adapter", adapter, "--out", tmp_path / "b", "--print-config").out
    for options in (
        ("--adapter", adapter, "--out", tmp_path / "with"),
        ("--profile", adapter / "profile.json", "--out", tmp_path / "without"),
    ):
        outcome = kmem(*build, *options)
        assert outcome.code == 0, outcome
    info = json.loads(kmem("info", tmp_path / "with", "--json").out)
    assert info["model"] == f"{model} + {adapter}"
    assert len(info["identity"]["adapter"]) == 16
    assert info["profile"] == "tiny"  # what the adapter was trained for

    ask = ("--prompt", "Where is Lake 3?", "--max-new-tokens", "2")
    assert kmem("generate", tmp_path / "with", *ask).code == 0
    refused(kmem("generate", tmp_path / "with", *ask, "--model", model), "adapter: bank", "here none", "load the adapter that wrote")
    refused(kmem("generate", tmp_path / "without", *ask, "--adapter", adapter), "adapter: bank none", "kmem build --adapter")
    refused(kmem("append", tmp_path / "with", lakes, "--model", model), "adapter: bank")
    outcome = kmem("generate", tmp_path / "without", *ask, "--adapter", adapter, "--allow-mismatch")
    assert outcome.code == 0, outcome
    assert "was written by other weights; 16 of its memories tell this model" in outcome.err
    refused(kmem("generate", tmp_path / "with", *ask, "--adapter", tmp_path), "There is no adapter in")


def test_quality_beside_the_untrained_model(kmem: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmem.bench.config.AdapterConfig.other", str(trained / "lakes.jsonl"))
    options = ("--model", trained / "model", "--corpus", trained / "lakes.jsonl", "--articles", "3")
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": "Where is Lake 3?", "answer": "north", "context": "Lake 3 lies north."}))
    asking = ("--questions", tmp_path / "q.jsonl")
    outcome = kmem("bench", "quality", *options, *asking, "--adapter", trained / "adapter", "--json", tmp_path / "q.json")
    assert outcome.code == 0, outcome
    for said in ("adapter_57", "adapter_among_five_57", "adapter_reads_untrained_57", "adapter_nothing"):
        assert said in outcome.out
    figures = json.loads((tmp_path / "q.json").read_text())
    assert figures["nll"]["adapter_57"] != figures["nll"]["profile_57"]
    assert figures["base"]["adapter_over_untrained"] > 0
    assert figures["questions"]["adapter"]["f1"].keys() == {"nothing", "text", "text_in_bracket", "profile_57"}
    assert figures["questions"]["adapter"]["nll"]["nothing"] != figures["questions"]["untrained"]["nll"]["nothing"]
    refused(kmem("bench", "quality", *options, "--adapter", trained / "adapter", "--full"), "leave --full")
