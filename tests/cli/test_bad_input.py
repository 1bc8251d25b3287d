"""Bad input gets one sentence on standard error and exit code 2; no traceback, and nothing stored is lost."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome, Run
from tests.faults import bank_files, disk, files_limited_to
from tests.tiny import byte_tokenizer, tiny_model


def refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    sentence = outcome.err.strip()
    assert sentence.startswith("kmem: ")
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    assert not re.search(r"[^.][.] [A-Z]", sentence), sentence
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
    shard = next((bank / "memories.zarr").rglob("kv/c.0.0.0.0"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    refused(kmem("info", bank), "kv/c.0.0.0.0", str(len(whole)), str(len(whole) - 10))
    shard.unlink()
    refused(kmem("info", bank), "kv/c.0.0.0.0", "missing")


@pytest.mark.parametrize("pattern", ["kv/c.0.0.0.0", "chunks/*.parquet", "bracket.safetensors", "index/*.faiss", "manifests/*.json"])
def test_flipped_byte(kmem: Run, bank: Path, pattern: str) -> None:
    (file,) = (path for path in bank.rglob(pattern) if path.is_file())
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 0x10
    file.write_bytes(data)
    refused(kmem("generate", bank, "--prompt", "What does the fox do?", "--max-new-tokens", "2"), file.name)


def test_unknown_memory(kmem: Run, bank: Path) -> None:
    refused(kmem("show", bank, 12345), "12345")


def test_an_empty_folder_among_the_sources(kmem: Run, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("text")
    outcome = kmem("build", tmp_path / "a.txt", tmp_path / "empty", "--out", tmp_path / "new", "--model", tiny_folder)
    refused(outcome, "empty", "holds no file that kmem reads", ".jsonl")
    assert not (tmp_path / "new").exists()


def test_an_output_that_can_not_be_written(kmem: Run, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    refused(kmem("build", tmp_path / "a.txt", "--out", "/proc/kmem/bank", "--model", tiny_folder), "/proc/kmem", "check path")


def test_missing_source_and_binary_source(kmem: Run, tiny_folder: Path, tmp_path: Path) -> None:
    options = ("--out", tmp_path / "new", "--model", tiny_folder, "--profile", "uniform8")
    refused(kmem("build", tmp_path / "gone.txt", *options), "gone.txt", "does not exist")
    (tmp_path / "photo.txt").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    refused(kmem("build", tmp_path / "photo.txt", *options), "photo.txt")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF")
    refused(kmem("build", tmp_path / "photo.jpg", *options), "photo.jpg", ".jsonl")
    (tmp_path / "wide.txt").write_bytes("wide".encode("utf-16-le"))
    refused(kmem("build", tmp_path / "wide.txt", *options), "wide.txt", "is binary, not text")
    (tmp_path / "bad.jsonl").write_text('\n{"text": \n')
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
    refused(kmem(*options, "--profile", "uniform8", "--quantiser", "int3"), "'int3'", "fp16")
    refused(kmem(*options, "--profile", "uniform8", "--index", "LSH"), "'LSH' is no search index", "IVF1024,Flat", "HNSW32")
    refused(kmem(*options, "--profile", "uniform8", "--index", "IVF4,PQ7"), "IVF4,PQ7 cuts a vector into 7 parts", "384")
    refused(kmem(*options, "--profile", "uniform8", "--dtype", "int8"), "'int8'", "bfloat16")
    refused(kmem(*options, "--profile", "uniform8", "--limit", "0"), "limit must be at least 1, not 0")
    refused(kmem(*options, "--profile", "uniform8", "--limit", str(2**63)), "limit must be at least 1 and at most", str(2**63))
    refused(kmem("build", "corpus:foldok", "--out", tmp_path / "new", "--model", tiny_folder, "--profile", "uniform8"), "foldok", "foldoc")
    refused(kmem("build", tmp_path / "a.txt", "--out", tmp_path / "new", "--model", tmp_path), "config.json")
    assert not (tmp_path / "new").exists()


def test_out_that_is_taken(kmem: Run, tmp_path: Path, bank: Path, tiny_folder: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    before = digest(bank)
    refused(kmem("build", tmp_path / "a.txt", "--out", bank, "--model", tiny_folder, "--profile", "uniform8"), "finished bank")
    assert digest(bank) == before


def test_usage_errors_are_one_sentence_with_the_value(kmem: Run, bank: Path) -> None:
    refused(kmem("query", bank), "text", "kmem query --help")
    refused(kmem("show", bank, "seven"), "ID", "'seven'", "integer")
    refused(kmem("generate", bank), "--prompt")
    refused(kmem("quary", bank, "x"), "'quary'", "did you mean 'query'")
    refused(kmem("query", bank, "x", "-k", "0"), "--top-k", "'0'")
    refused(kmem("build", bank, "--out", "x", "--limit", "ten"), "--limit", "'ten'", "kmem build --help")
    refused(kmem("show", bank, "-5"), "-5", "write -- before")
    refused(misspelt := kmem("query", bank, "x", "--topk", "3"), "--topk", "did you mean")
    assert "write -- before" not in misspelt.err
    refused(kmem("query", bank, "x", "y"), "y", "kmem query --help")
    for bare in ((), ("bench",)):
        assert "Usage" in kmem(*bare).out


def test_text_that_can_not_be_asked_with(kmem: Run, bank: Path) -> None:
    refused(kmem("query", bank, ""), "query is empty")
    refused(kmem("query", bank, "caf\udce9"), "'caf\\udce9'", "UTF-8")
    refused(kmem("generate", bank, "--prompt", "caf\udce9"), "prompt", "UTF-8")
    refused(kmem("generate", bank, "--prompt", "x", "--every", "-1"), "every must be at least 1, not -1")
    refused(kmem("generate", bank, "--prompt", "x", "--every", "0"), "not 0", "--mode once")
    refused(kmem("generate", bank, "--prompt", "x", "--mode", "retro"), "--mode", "'retro'", "'shifted'")


def test_options_out_of_bounds_or_against_each_other(kmem: Run, bank: Path) -> None:
    assert len(json.loads(kmem("query", bank, "x", "-k", "1000", "--json").out)["hits"]) == 3
    refused(kmem("query", bank, "x", "-k", str(10**30)), "k must be at least 1 and at most")
    refused(kmem("generate", bank, "--prompt", "x", "--raw", "--template", "a {prompt}"), "--raw", "--template")
    (bank.parent / "a.txt").write_text("text")
    refused(kmem("build", bank.parent / "a.txt", "--out", ""), "''", "name a folder")
    refused(kmem("generate", bank, "--prompt", "x", "--template", "no slot"), "template", "{prompt}")
    refused(kmem("generate", bank, "--prompt", " ", "--raw"), "prompt is empty")
    refused(kmem("bench", "quality", "--json", bank / "no" / "q.json"), "there is no folder")
    refused(kmem("generate", bank, "--prompt", "x", "--max-new-tokens", "0"), "max_new_tokens must be at least 1, not 0")


def test_what_was_typed_is_named_as_it_was_typed(kmem: Run, tmp_path: Path) -> None:
    """And what came by a file as it stands there."""
    (tmp_path / "a.txt").write_text("text")
    options = ("build", tmp_path / "a.txt", "--out", tmp_path / "new")
    for flags, words in (
        (("--max-tokens", 2), ": --max-tokens is 2, too few"),
        (("--max-tokens", 129), ": --max-tokens is 129, but a memory holds 128 at most"),
        (("--overlap", 64), ": --overlap is 64, but must be from 0 to 63, less than half of --max-tokens (128)"),
        (("--overlap", 9, "--max-tokens", 10), ": --overlap is 9, but must be from 0 to 4, less than half of --max-tokens (10)"),
        (("--min-quality", 2, "--quality", "general"), ": --min-quality is 2.0; a score"),
        (("--min-quality", 0.1), ": --min-quality does nothing without --quality: give that too"),
        (("--threads-per-worker", 2), ": --threads-per-worker does nothing without --workers"),
        (("--workers", 2, "--scheduler", "tcp://a:1"), ": --workers and --scheduler exclude each other"),
        (("--workers", 0), ": --workers must be at least 1, not 0"),
        (("--dedup-threshold", 3), ": --dedup-threshold is 3.0; a similarity"),
        (("--text-field", ""), ": --text-field is the empty string"),
        (("--title-field", "", "--no-title"), ": --title-field is the empty string"),
        (("--shard-rows", -1), ": --shard-rows must be at least 1, not -1"),
        (("--target-recall", 1.5), ": --target-recall must lie in (0, 1], not 1.5"),
        (("--index", "HNSW1048576"), "'HNSW1048576' asks for 1048576 links"),
        (("--config", ""), "can't be read"),
    ):
        refused(kmem(*options, *flags), words)
    (tmp_path / "build.yaml").write_text("chunk: {overlap_tokens: 60}\n")
    refused(
        kmem(*options, "--config", tmp_path / "build.yaml", "--max-tokens", 20), ": overlap_tokens is 60, but", "half of --max-tokens (20)"
    )
    refused(kmem("append", tmp_path, tmp_path / "a.txt", "--batch-size", 0), ": --batch-size must be at least 1")
    refused(kmem("bench", "pipeline", "--rounds", 0), ": --rounds must be")


def test_a_profile_file_that_is_not_there(kmem: Run, tmp_path: Path, tiny_folder: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    options = ("build", tmp_path / "a.txt", "--out", tmp_path / "new", "--model", tiny_folder)
    refused(kmem(*options, "--profile", tmp_path / "gone.json"), "gone.json can't be read", "No such file")


def test_profile_files(kmem: Run, tmp_path: Path, tiny_folder: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    profile = tmp_path / "mine.json"
    for content, *words in (
        ("{", "mine.json holds no profile"),
        ("[]", "JSON object", "[]"),
        ("{}", "'name' is missing", '"budget": [['),
        ('{"name": "mine"}', "'budget' is missing"),
        ('{"name": "mine", "budget": 8}', "'budget' must be a table", "not 8"),
        ('{"name": "mine", "budget": [[8, 8.5]]}', "8.5", "whole number"),
        ('{"name": "mine", "budget": [[8]], "colour": "red"}', "no field 'colour'", "selector"),
        ('{"name": "", "budget": [[8]]}', "'name' is empty"),
        ('{"name": 3, "budget": [[8]]}', "'name' must be a string, not 3"),
    ):
        profile.write_text(content)
        outcome = kmem("build", tmp_path / "a.txt", "--out", tmp_path / "new", "--model", tiny_folder, "--profile", profile)
        refused(outcome, *words)


def test_bench_writes_json(kmem: Run, bank: Path, tmp_path: Path) -> None:
    refused(kmem("bench", "quality", "--model", tmp_path / "no-model"), "no-model")
    refused(kmem("bench", "store", "--memories", "20"), "memories must be at least 160", "not 20")
    refused(kmem("bench", "store", "--json", tmp_path / "no" / "s.json"), "there is no folder")
    refused(kmem("bench", "store", "--keep", bank), "is not an empty folder", str(bank))
    assert json.loads(kmem("info", bank, "--json").out)["memories"] == 3


def test_a_full_disk_is_one_sentence_that_names_the_file(kmem: Run, bank: Path) -> None:
    assert kmem("delete", bank, "--where", "title=Fox").code == 0
    before = bank_files(bank)
    with files_limited_to(500):
        refused(kmem("compact", bank, "--json"), f"{bank}/memories.zarr/g0001-", "(File too large)", "free space")
    assert bank_files(bank) == before
    assert kmem("compact", bank).code == 0


def test_a_disk_that_is_read_only_or_full_is_called_so(kmem: Run, bank: Path, tmp_path: Path) -> None:
    (memory_id,) = (hit["id"] for hit in json.loads(kmem("query", bank, "fox", "-k", "1", "--json").out)["hits"])
    with disk(tmp_path / "disk") as small:
        there = small.folder / "bank"
        shutil.copytree(bank, there)
        small.leave(0)
        refused(kmem("convert", bank, "--quant", "fp16", "--out", small.folder / "wide"), str(small.folder / "wide"), "make room")
        assert not (small.folder / "wide").exists()
        small.leave(8 << 20)
        small.read_only()
        refused(kmem("delete", there, "--where", f"id={memory_id}"), str(there), "can't be written", "mounted read-only")
        refused(kmem("convert", bank, "--quant", "fp16", "--out", small.folder / "wide"), "mounted read-only")
