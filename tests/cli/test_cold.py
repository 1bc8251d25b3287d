"""`kmem build --no-encode` and what every command says of such a bank."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def cold(kmem: Run, tiny_folder: Path, tmp_path: Path) -> Path:
    for name, text in (("fox", "The quick brown fox jumps."), ("iron", "Iron rusts in wet air."), ("owl", "Owls hunt mice by night.")):
        (tmp_path / f"{name}.txt").write_text(text)
    built = kmem("build", tmp_path / "*.txt", "--out", tmp_path / "cold", "--model", tiny_folder, "--profile", "uniform8", "--no-encode")
    assert built.code == 0, built.err
    assert "each when it is first read, or all by kmem encode" in built.out
    return tmp_path / "cold"


def test_each_memory_is_encoded_when_it_is_first_read(kmem: Run, cold: Path) -> None:
    assert "0 of 3" in kmem("info", cold).out
    facts = json.loads(kmem("info", cold, "--json").out)
    assert (facts["memories"], facts["encoded"], facts["payload_bytes"]) == (3, 0, 0)
    (hit,) = json.loads(kmem("query", cold, "what does the fox do?", "-k", "1", "--json").out)["hits"]
    assert "fox" in hit["text"]
    shown = kmem("show", cold, hit["id"])
    assert shown.code == 0
    assert "The quick brown fox jumps." in shown.out
    assert "Not encoded yet" in shown.out
    assert json.loads(kmem("show", cold, hit["id"], "--json").out)["tokens"] == []
    assert "kmem encode" in kmem("show", cold, hit["id"], "--png", cold / "x.png").err
    options = ("--prompt", "What does the fox do?", "--max-new-tokens", "4", "-k", "1", "--json")
    (first,) = json.loads(kmem("generate", cold, *options).out)["answers"]
    assert json.loads(kmem("info", cold, "--json").out)["encoded"] == 1
    (again,) = json.loads(kmem("generate", cold, *options).out)["answers"]
    assert again["text"] == first["text"]
    assert "number below a token" in kmem("show", cold, first["trace"][0]["reads"][0]["id"]).out
    assert json.loads(kmem("verify", cold, "--deep", "--json").out)["memories_read"] == 1
    other = kmem("generate", cold, "--prompt", "Iron", "--max-new-tokens", "2", "--dtype", "bfloat16")
    assert other.code == 0
    assert other.err.startswith("kmem: What ")
    assert "load the model with dtype='float32'" in other.err
    assert json.loads(kmem("info", cold, "--json").out)["encoded"] == 1


def test_the_life_of_such_a_bank(kmem: Run, cold: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(cold, tmp_path / "copy")
    for command in (("merge", cold, copy, "--out", tmp_path / "both"), ("convert", cold, "--quant", "bf16", "--out", tmp_path / "bf16")):
        outcome = kmem(*command)
        assert outcome.code == 2
        assert "3 memories of" in outcome.err
        assert "encode what is missing with kmem encode" in outcome.err
    assert json.loads(kmem("delete", cold, "--where", "text=*mice*", "--json").out)["left"] == 2
    assert json.loads(kmem("compact", cold, "--json").out)["memories"] == 2
    (tmp_path / "newt.md").write_text("Newts live in ponds.")
    assert "each when it is first read" in kmem("append", cold, tmp_path / "newt.md", "--no-encode").out
    assert "Encoded 3 references in" in kmem("encode", cold).out
    assert json.loads(kmem("encode", cold, "--json").out)["there_already"] == 3
    assert "holds all 3" in kmem("encode", cold).out
    assert kmem("convert", cold, "--quant", "bf16", "--out", tmp_path / "bf16").code == 0
    record = next(cold.rglob("kv/c.0.*"))
    record.write_bytes(record.read_bytes()[:-1])
    outcome = kmem("verify", cold)
    assert outcome.code == 2
    assert f"delete {record}" in outcome.err
    record.unlink()
    assert "Encoded 1 reference in" in kmem("encode", cold).out
    assert "is whole" in kmem("verify", cold, "--deep").out


def test_encode_wants_a_bank(kmem: Run, tmp_path: Path, bank_folder: Path) -> None:
    outcome = kmem("encode", tmp_path / "none")
    assert outcome.code == 2
    assert "There is no bank" in outcome.err
    assert "Encoded nothing that was missing" in kmem("encode", bank_folder).out
