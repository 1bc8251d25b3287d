"""`kmem bench bmojo`, as a user sees it."""

import json
from pathlib import Path

from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused
from tests.cli.test_calibrate import PNG


def test_bmojo(kmem: Run, tmp_path: Path) -> None:
    sizes = ("--lengths", "32", "--lengths", "64", "--piece", "32", "--train-tokens", "16", "--rounds", "1")
    outcome = kmem("bench", "bmojo", *sizes, "--json", tmp_path / "b.json", "--picture", tmp_path / "b.png")
    assert outcome.code == 0, outcome
    figures = json.loads((tmp_path / "b.json").read_text())
    assert (figures["benchmark"], figures["models"]["bmojo"]["layers"]) == ("bmojo", 4)
    assert (tmp_path / "b.png").read_bytes().startswith(PNG)
    for said in ("cost_flat", "memory_flat", "at most 1.3", "over_transformer_8k", "not measured", "train_step_over_hybrid", "µs a token"):
        assert said in outcome.out


def test_bad_input(kmem: Run, tmp_path: Path) -> None:
    refused(kmem("bench", "bmojo", "--lengths", "64"), "lengths must be two or more")
    refused(kmem("bench", "bmojo", "--rounds", "0"), "rounds must be at least 1", "not 0")
    refused(kmem("bench", "bmojo", "--device", "quantum"), "Device 'quantum' is none of")
    refused(kmem("bench", "bmojo", "--json", tmp_path / "no" / "b.json"), "--json", "there is no folder")
    refused(kmem("bench", "bmojo", "--picture", tmp_path / "b.jpg"), "b.jpg must end in .png")
