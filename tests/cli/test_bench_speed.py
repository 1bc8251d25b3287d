"""`kmem bench decode` and `kmem bench encode`, as a user sees them."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused
from tests.cli.test_calibrate import PNG

SENTENCE = "Lake {number} lies north of hill {number} and is {number} miles long. "


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "lakes.jsonl"
    lines = (json.dumps({"title": f"Lake {number}", "text": SENTENCE.format(number=number) * 3}) for number in range(8))
    path.write_text("\n".join(lines))
    return path


def test_decode_builds_its_bank_once(kmem: Run, tiny_folder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path / "cache"))
    options = ("bench", "decode", "--model", tiny_folder, "--corpus", corpus, "--rounds", "1", "--new-tokens", "3", "--memories", "9")
    outcome = kmem(*options, "--json", tmp_path / "d.json", "--picture", tmp_path / "d.png")
    assert outcome.code == 0, outcome
    figures = json.loads((tmp_path / "d.json").read_text())
    assert (figures["benchmark"], figures["settings"]["memories"]) == ("decode", 9)
    assert figures["machine"]["cores"] > 0
    assert (tmp_path / "d.png").read_bytes().startswith(PNG)
    for said in ("batch 1, 128 in, 3 out", "memory_disk", "not measured"):
        assert said in outcome.out
    (bank,) = (path for path in (tmp_path / "cache" / "bench").iterdir() if path.is_dir())
    manifests = [path.stat().st_mtime_ns for path in (bank / "manifests").iterdir()]
    again = kmem(*options, "--batch", "2", "--json", "-")
    assert list(json.loads(again.out)["cells"]) == ["batch2_out3"]
    assert manifests == [path.stat().st_mtime_ns for path in (bank / "manifests").iterdir()]
    read = ("--prompt-tokens", "20", "--top-k", "2", "--every", "7", "--bank", bank)
    other = json.loads(kmem(*options, *read, "--json", "-").out)
    assert other["cells"]["batch1_out3"]["retrievals_per_row"] == 3
    assert {name: other["settings"][name] for name in ("prompt_tokens", "top_k", "every")} == {"prompt_tokens": 20, "top_k": 2, "every": 7}
    assert not set(other["asked"]) & set(other)
    refused(kmem(*options, "--bank", bank, "--top-k", "10"), "fewer memories than the 10")
    refused(kmem(*options, "--bank", bank, "--prompt-tokens", "100000"), "too little text for a prompt of 100000 tokens")
    refused(kmem("bench", "decode", "--model", tiny_folder, "--bank", tmp_path / "no-bank"), "no-bank")


def test_encode(kmem: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmem.bench.encode.work.SQUARES", (512,))
    options = ("bench", "encode", "--model", "preset:memory3-tiny", "--corpus", corpus, "--chunks", "4", "--rounds", "1")
    outcome = kmem(*options, "--dtype", "float32", "--json", tmp_path / "e.json")
    assert outcome.code == 0, outcome
    figures = json.loads((tmp_path / "e.json").read_text())
    assert (figures["benchmark"], figures["settings"]["profile"]) == ("encode", "memory3")
    assert "work left out: 5 of 11 layers run" in " ".join(outcome.out.split())
    for said in ("preset:memory3-tiny, 4", "work_over_naive", "over_naive", "share_of_peak", "time: linear"):
        assert said in outcome.out


def test_bad_input(kmem: Run, tmp_path: Path) -> None:
    refused(kmem("bench", "decode", "--rounds", "0"), "rounds must be at least 1", "not 0")
    refused(kmem("bench", "decode", "--new-tokens", "1"), "new_tokens must be at least 2")
    refused(kmem("bench", "decode", "--batch", "0"), "batches must be at least 1", "not 0")
    refused(kmem("bench", "decode", "--prompt-tokens", "0"), "prompt_tokens must be at least 1", "not 0")
    refused(kmem("bench", "decode", "--top-k", "-2"), "top_k must be at least 1", "not -2")
    refused(kmem("bench", "decode", "--every", "0"), "every must be at least 1", "not 0")
    refused(kmem("bench", "decode", "--json", tmp_path / "no" / "d.json"), "there is no folder")
    refused(kmem("bench", "decode", "--picture", tmp_path / "d.jpg"), "d.jpg must end in .png")
    refused(kmem("bench", "decode", "--model", "preset:memory4"), "Unknown preset 'memory4'", "memory3-2b")
    refused(kmem("bench", "encode", "--chunks", "0"), "chunks must be at least 1", "not 0")
    refused(kmem("bench", "encode", "--model", "preset:memory3-tiny", "--profile", "smollm2-720"), "30 layers × 3", "11 × 2")
