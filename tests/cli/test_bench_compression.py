"""`kmem bench compression`, as a user sees it."""

import json
from pathlib import Path

import pytest

from kmem.bench.compression.ledger import ledger
from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused
from tests.cli.test_calibrate import PNG


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "lakes.jsonl"
    lines = (json.dumps({"title": f"Lake {number}", "text": f"Lake {number} lies north of a hill. " * 9}) for number in range(40))
    path.write_text("\n".join(lines))
    return path


def test_compression(kmem: Run, tiny_folder: Path, corpus: Path, tmp_path: Path) -> None:
    sources = ("--model", tiny_folder, "--corpus", corpus, "--profile", "uniform8", "--articles", 2, "--learning", 9)
    outcome = kmem("bench", "compression", *sources, "--json", tmp_path / "c.json", "--picture", tmp_path / "c.png")
    assert outcome.code == 0, outcome
    figures = json.loads((tmp_path / "c.json").read_text())
    assert (figures["benchmark"], figures["settings"]["articles"], figures["ledger"]) == ("compression", 2, ledger())
    assert (tmp_path / "c.png").read_bytes().startswith(PNG)
    for said in ("112,000,000 references", "7.2 PiB", "45.9 TiB", "4.0 TiB", "1829×", "int8", "vq", "decoded GB/s"):
        assert said in outcome.out


def test_bad_input(kmem: Run, tmp_path: Path) -> None:
    refused(kmem("bench", "compression", "--articles", "0"), "articles must be at least 1", "not 0")
    refused(kmem("bench", "compression", "--learning", "-3"), "learning must be at least 1", "not -3")
    refused(kmem("bench", "compression", "--corpus", ""), "corpus is the empty string")
    refused(kmem("bench", "compression", "--profile", ""), "profile is the empty string")
    refused(kmem("bench", "compression", "--json", tmp_path / "no" / "c.json"), "--json", "there is no folder")
    refused(kmem("bench", "compression", "--picture", tmp_path / "no" / "c.png"), "--picture", "there is no folder")
    refused(kmem("bench", "compression", "--picture", tmp_path / "c.jpg"), "c.jpg must end in .png")
    refused(kmem("bench", "compression", "--model", "preset:memory4"), "Unknown preset 'memory4'")
    refused(
        kmem("bench", "compression", "--corpus", tmp_path / "nowhere", "--model", "preset:memory3-tiny", "--profile", "memory3"), "nowhere"
    )
    refused(kmem("bench", "compression", "--profile", "tiny", "--model", "preset:memory3-tiny"), "tiny")
