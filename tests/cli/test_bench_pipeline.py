"""`kmem bench pipeline`, as a user sees it."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused
from tests.cli.test_calibrate import PNG
from tests.kbuild.dedup.texts import english


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"title": f"Text {seed}", "text": english(seed)}) for seed in range(30)))
    return path


def test_pipeline(kmem: Run, tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    sizes = ("--documents", "30", "--planted", "3", "--megabytes", "1", "--rounds", "1", "--chunks", "20", "--chunks", "40")
    options = ("bench", "pipeline", "--model", tiny_folder, "--corpus", corpus, *sizes, "--encoded", "0")
    outcome = kmem(*options, "--json", tmp_path / "p.json", "--picture", tmp_path / "p.png")
    assert outcome.code == 0, outcome
    figures = json.loads((tmp_path / "p.json").read_text())
    assert (figures["benchmark"], figures["settings"]["planted"]) == ("pipeline", 9)
    assert figures["dedup_recall"] > 0.8
    assert (tmp_path / "p.png").read_bytes().startswith(PNG)
    for said in ("9 copies among 30 documents", "dedup_precision", "cost_growth", "at most 1.2", "minhash", "a chunk, of 40"):
        assert said in outcome.out


def test_bad_input(kmem: Run, tmp_path: Path) -> None:
    refused(kmem("bench", "pipeline", "--documents", "10"), "give more documents")
    refused(kmem("bench", "pipeline", "--chunks", "10"), "give two sizes or more")
    refused(kmem("bench", "pipeline", "--rounds", "0"), "rounds must be at least 1", "not 0")
    refused(kmem("bench", "pipeline", "--json", tmp_path / "no" / "p.json"), "--json", "there is no folder")
    refused(kmem("bench", "pipeline", "--picture", tmp_path / "p.jpg"), "p.jpg must end in .png")
