"""Bad input gets one sentence on standard error and exit code 2; no traceback, and nothing stored is lost."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome, Run
from tests.tiny import byte_tokenizer, tiny_model


def refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    sentence = outcome.err.strip()
    assert sentence.startswith("kmem: ")
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    for word in words:
        assert word in sentence


@pytest.fixture
def bank(bank_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bank_folder, tmp_path / "bank"))


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())).hexdigest()


def test_no_bank(kmem: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for command in (("info",), ("query",), ("generate",), ("show",)):
        rest = {"query": ("words",), "generate": ("--prompt", "x"), "show": ("1",)}.get(command[0], ())
        refused(kmem(*command, tmp_path / "nowhere", *rest), "nowhere", "no such folder")
        refused(kmem(*command, tmp_path / "empty", *rest), "empty", "kmem build")


def test_wrong_model(kmem: Run, bank: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    tiny_model(seed=3).save_pretrained(other)
    byte_tokenizer().save_pretrained(other)
    before = digest(bank)
    refused(kmem("generate", bank, "--prompt", "x", "--model", other), "weights", "can't be read by", str(other))
    assert digest(bank) == before


def test_truncated_shard(kmem: Run, bank: Path) -> None:
    shard = next((bank / "memories.zarr").rglob("kv/c/0/0/0/0"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    refused(kmem("info", bank), "kv/c/0/0/0/0", str(len(whole)), str(len(whole) - 10))
    shard.unlink()
    refused(kmem("info", bank), "kv/c/0/0/0/0", "missing")


@pytest.mark.parametrize("pattern", ["kv/c/0/0/0/0", "chunks/*.parquet", "bracket.safetensors", "index/*.faiss", "manifests/*.json"])
def test_flipped_byte(kmem: Run, bank: Path, pattern: str) -> None:
    (file,) = (path for path in bank.rglob(pattern) if path.is_file())
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 0x10
    file.write_bytes(data)
    refused(kmem("generate", bank, "--prompt", "What does the fox do?", "--max-new-tokens", "2"), file.name)


def test_unknown_memory(kmem: Run, bank: Path) -> None:
    refused(kmem("show", bank, 12345), "12345")


def test_missing_source_and_binary_source(kmem: Run, tiny_folder: Path, tmp_path: Path) -> None:
    options = ("--out", tmp_path / "new", "--model", tiny_folder, "--profile", "uniform8")
    refused(kmem("build", tmp_path / "gone.txt", *options), "gone.txt", "does not exist")
    (tmp_path / "photo.txt").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    refused(kmem("build", tmp_path / "photo.txt", *options), "photo.txt")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    refused(kmem("build", tmp_path / "photo.jpg", *options), "photo.jpg", ".jsonl")
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    refused(kmem("build", tmp_path / "bad.jsonl", *options), "bad.jsonl", "2")
    (tmp_path / "blank.txt").write_text("  \n")
    refused(kmem("build", tmp_path / "blank.txt", *options), "blank.txt")
    assert not (tmp_path / "new").exists()


def test_unknown_names(kmem: Run, tmp_path: Path, tiny_folder: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    options = ("build", tmp_path / "a.txt", "--out", tmp_path / "new", "--model", tiny_folder)
    refused(kmem(*options, "--profile", "smolm"), "Unknown profile 'smolm'", "uniform8", "smollm2-720")
    refused(kmem(*options, "--profile", "smollm2-720"), "30 layers × 3", "4 × 2")
    refused(kmem(*options, "--profile", "uniform8", "--selector", "knrm"), "Unknown selector 'knrm'", "memory3")
    refused(kmem(*options, "--profile", "uniform8", "--quant", "int3"), "'int3'", "fp16")
    refused(kmem(*options, "--profile", "uniform8", "--dtype", "int8"), "'int8'", "bfloat16")
    refused(kmem(*options, "--profile", "uniform8", "--limit", "0"), "limit must be at least 1, not 0")
    refused(kmem("build", "corpus:foldok", "--out", tmp_path / "new", "--model", tiny_folder, "--profile", "uniform8"), "foldok", "foldoc")
    refused(kmem("build", tmp_path / "a.txt", "--out", tmp_path / "new", "--model", tmp_path), "config.json")
    assert not (tmp_path / "new").exists()


def test_out_that_is_taken(kmem: Run, tmp_path: Path, bank: Path, tiny_folder: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    before = digest(bank)
    refused(kmem("build", tmp_path / "a.txt", "--out", bank, "--model", tiny_folder, "--profile", "uniform8"), "finished bank")
    assert digest(bank) == before


def test_usage_errors_exit_with_2(kmem: Run, bank: Path) -> None:
    for arguments in (("query", bank), ("show", bank, "seven"), ("generate", bank), ("nonsense",), ("query", bank, "x", "-k", "0")):
        outcome = kmem(*arguments)
        assert outcome.code == 2
        assert "Traceback" not in outcome.err
    refused(kmem("generate", bank, "--prompt", "x", "--template", "no slot"), "template", "{prompt}")
    refused(kmem("generate", bank, "--prompt", " ", "--raw"), "prompt is empty")
    refused(kmem("bench", "quality", "--json", bank / "no" / "q.json"), "there is no folder")
    refused(kmem("generate", bank, "--prompt", "x", "--max-new-tokens", "0"), "max_new_tokens must be at least 1, not 0")


def test_bench_writes_json(kmem: Run, bank: Path, tmp_path: Path) -> None:
    refused(kmem("bench", "quality", "--model", tmp_path / "no-model"), "no-model")
    assert json.loads(kmem("info", bank, "--json").out)["memories"] == 3
