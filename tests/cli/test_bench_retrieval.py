"""`kmem bench retrieval`, as a user sees it."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused
from tests.cli.test_calibrate import PNG

SENTENCES = (
    "Some rivers carry heavy stones towards distant northern valleys.",
    "Every winter freezing water splits those boulders into smaller pieces.",
)


def test_retrieval(kmem: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "lakes.jsonl"
    lines = (
        json.dumps({"title": f"Lake{number}", "text": " ".join(f"{text[:-1]} number{number}." for text in SENTENCES)})
        for number in range(5)
    )
    path.write_text("\n".join(lines))
    options = ("bench", "retrieval", "--model", tiny_folder, "--corpus", path, "--questions", 3)
    wanted = ("--retriever", "bm25", "--retriever", "hybrid:hidden")
    outcome = kmem(*options, *wanted, "--json", tmp_path / "r.json", "--picture", tmp_path / "r.png")
    assert outcome.code == 0, outcome
    figures = json.loads((tmp_path / "r.json").read_text())
    assert (figures["benchmark"], figures["settings"]["questions"]) == ("retrieval", 3)
    assert figures["corpora"][str(path)]["retrievers"]["bm25"]["recall@1"] == 1.0
    assert (tmp_path / "r.png").read_bytes().startswith(PNG)
    for said in ("3 questions", "hybrid:hidden", "recall@5", "bm25 +0.0", "BM25"):
        assert said in outcome.out
    cached = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.npy")}
    assert cached
    again = json.loads(kmem(*options, "--retriever", "hidden", "--json", "-").out)
    assert list(again["corpora"][str(path)]["retrievers"]) == ["hidden"]
    assert cached == {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.npy")}


def test_bad_input(kmem: Run, tiny_folder: Path, tmp_path: Path) -> None:
    refused(kmem("bench", "retrieval", "--questions", "0"), "questions must be at least 1", "not 0")
    refused(kmem("bench", "retrieval", "--pool", "-3"), "pool must be at least 1", "not -3")
    refused(kmem("bench", "retrieval", "--corpus", ""), "corpora is the empty string")
    refused(kmem("bench", "retrieval", "--retriever", ""), "retrievers is the empty string")
    refused(kmem("bench", "retrieval", "--json", tmp_path / "no" / "c.json"), "--json", "there is no folder")
    refused(kmem("bench", "retrieval", "--picture", tmp_path / "c.jpg"), "c.jpg must end in .png")
    refused(kmem("bench", "retrieval", "--model", tiny_folder, "--corpus", tmp_path / "nowhere", "--retriever", "bm25"), "nowhere")
    refused(kmem("bench", "retrieval", "--model", tiny_folder, "--retriever", "hybrid:bm25"), "name one of vectors")


def test_what_is_not_there_is_said_before_a_model_is_looked_for(kmem: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"title": "a", "text": "b"}')
    options = ("bench", "retrieval", "--model", tmp_path / "no-model", "--corpus", tmp_path / "a.jsonl")
    refused(kmem(*options, "--corpus", tmp_path / "nowhere"), "nowhere")
    refused(kmem(*options, "--retriever", "hybrid:"), "'hybrid:' names no embedder")
    refused(kmem(*options, "--retriever", "hybrid:bm25"), "name one of vectors")
    refused(kmem(*options, "--retriever", "./minilmm"), "./minilmm")
    refused(kmem(*options, "--seed", "-1"), "seed must be at least 0, not -1")
