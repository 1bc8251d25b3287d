"""Every command does its work, speaks JSON, and shows a person what it did."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kmem import __version__
from kmem.bench.store import measure
from kmem.bench.store.config import StoreConfig
from kmem.cli import bench_store
from kmem.kstore.bank import open_bank
from tests.cli.conftest import Run


def test_version_and_help(kmem: Run) -> None:
    assert kmem("--version").out.strip() == f"kmem {__version__}"
    shown = kmem("--help")
    assert shown.code == 0
    for command in ("build", "info", "query", "show", "generate", "plan", "demo", "bench"):
        assert command in shown.out


def test_build_prints_a_summary_and_json(kmem: Run, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One small document about hash tables.")
    (tmp_path / "b.jsonl").write_text((json.dumps({"text": "Another one, about foxes.", "title": "Fox"}) + "\n") * 2)
    options = ("--model", tiny_folder, "--profile", "memory3", "--dtype", "float32")
    dry = kmem("build", tmp_path / "a.txt", tmp_path / "b.jsonl", "--out", tmp_path / "bank", *options, "--dry-run")
    assert dry.code == 0
    assert "Would build" in dry.out
    rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in dry.out.splitlines() if line.startswith("│")]
    assert rows[:5] == [
        ["documents in", "3"],
        ["dropped: exact duplicate", "1"],
        ["documents kept", "2"],
        ["chunks in", "2"],
        ["chunks kept", "2 (67 tokens)"],
    ]
    for words in ("1.2 KiB", "in 1 shard", "encode", "embed"):
        assert words in dry.out
    assert not (tmp_path / "bank").exists()
    built = kmem("build", tmp_path / "a.txt", tmp_path / "b.jsonl", "--out", tmp_path / "bank", *options, "--json")
    report = json.loads(built.out)
    assert (report["flow"]["documents"]["in"], report["chunks"], report["slots"]) == (3, 2, 32)
    assert "documents" not in report["counts"]
    for flow in report["flow"].values():
        assert flow["in"] == flow["kept"] + sum(flow["lost"].values())
    assert kmem("info", tmp_path / "bank").code == 0


def test_info(kmem: Run, bank_folder: Path) -> None:
    facts = json.loads(kmem("info", bank_folder, "--json").out)
    assert facts["memories"] == 3
    assert facts["record_bytes"] == 2 * 64 * (8 + 2)
    assert facts["payload_bytes"] == 3 * facts["record_bytes"]
    assert "uniform8" in kmem("info", bank_folder).out


def test_verify_names_what_is_damaged(kmem: Run, bank_folder: Path, tmp_path: Path) -> None:
    bank = Path(shutil.copytree(bank_folder, tmp_path / "bank"))
    facts = json.loads(kmem("verify", bank, "--deep", "--json").out)
    assert facts["files"] > 5
    assert facts["memories"] == 3
    shard = next((bank / "memories.zarr").rglob("kv/c.0.0.0.0"))
    data = bytearray(shard.read_bytes())
    data[5] ^= 1
    shard.write_bytes(data)
    assert kmem("info", bank).code == 0
    outcome = kmem("verify", bank)
    assert outcome.code == 2
    assert "kv/c.0.0.0.0 was altered" in outcome.err


def test_the_life_of_a_bank(kmem: Run, bank_folder: Path, tiny_folder: Path, tmp_path: Path) -> None:
    bank = Path(shutil.copytree(bank_folder, tmp_path / "bank"))
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "owl.md").write_text("Owls hunt mice by night. They hear every step.")
    (notes / "newt.md").write_text("Newts live in ponds and grow their legs again.")
    dry = json.loads(kmem("append", bank, notes, "--dry-run", "--json").out)
    assert (dry["chunks"], dry["dry_run"]) == (2, True)
    assert json.loads(kmem("info", bank, "--json").out)["memories"] == 3
    assert "Appended to" in kmem("append", bank, notes).out
    again = json.loads(kmem("append", bank, notes, "--json").out)
    assert (again["chunks"], again["counts"]["there already"]) == (0, 2)
    assert json.loads(kmem("info", bank, "--json").out)["memories"] == 5
    hits = json.loads(kmem("query", bank, "who hunts mice at night?", "--json").out)["hits"]
    assert "Owls" in hits[0]["text"]
    assert kmem("generate", bank, "--prompt", "Owls", "--max-new-tokens", "3", "--model", tiny_folder).code == 0

    shown = kmem("delete", bank, "--where", "source=*owl.md", "--dry-run").out
    assert "Would delete 1 of 5 memories" in shown
    assert json.loads(kmem("delete", bank, "--where", "source=*owl.md", "--json").out)["left"] == 4
    assert "none matches" in kmem("delete", bank, "--where", "source=*owl.md").out
    assert "Owls" not in kmem("query", bank, "who hunts mice at night?").out
    with open_bank(bank):
        assert json.loads(kmem("compact", bank, "--json").out)["memories"] == 4
        assert "1 older state kept: a reader may have it open" in kmem("compact", bank).out
    assert "kept" not in kmem("compact", bank).out
    back = json.loads(kmem("append", bank, notes, "--json").out)
    assert (back["chunks"], back["counts"]["there already"]) == (1, 1)

    assert json.loads(kmem("merge", bank, bank_folder, "--out", tmp_path / "both", "--json").out)["memories"] == 5
    assert json.loads(kmem("convert", bank, "--quant", "bf16", "--out", tmp_path / "bf16", "--json").out)["memories"] == 5
    refused = kmem("convert", bank, "--quant", "int8", "--out", tmp_path / "int8")
    assert (refused.code, "stores its memories as int8 already" in refused.err) == (2, True)
    assert "is whole" in kmem("verify", tmp_path / "both", "--deep").out
    (tmp_path / "both" / "index" / "000001.faiss").unlink()
    assert kmem("verify", tmp_path / "both").code == 2
    assert "was made again" in kmem("verify", tmp_path / "both", "--repair-index").out
    assert kmem("query", tmp_path / "both", "owls").code == 0


def test_query_ranks_with_source_and_score(kmem: Run, bank_folder: Path) -> None:
    hits = json.loads(kmem("query", bank_folder, "an animal that jumps", "--json").out)["hits"]
    assert hits[0]["title"] == "Fox"
    assert hits[0]["score"] > hits[1]["score"]
    shown = kmem("query", bank_folder, "an animal that jumps", "-k", "1").out
    assert "Fox.md" in shown
    assert str(hits[0]["id"]) in shown
    assert "Iron" not in shown


def test_show_marks_every_token(kmem: Run, bank_folder: Path) -> None:
    hit = json.loads(kmem("query", bank_folder, "fox", "--json").out)["hits"][0]
    assert isinstance(hit["id"], str)  # 63 bits are more than a JSON number keeps
    shown = json.loads(kmem("show", bank_folder, hit["id"], "--json").out)
    assert "".join(token["text"] for token in shown["tokens"]) == f"{hit['title']}: {hit['text']}"
    assert sum(token["heads"] for token in shown["tokens"]) == 8 * 8  # 8 heads keep 8 tokens each
    assert shown["heads"] == 8
    printed = kmem("show", bank_folder, hit["id"]).out
    assert "Fox.md" in printed
    assert "begins: Fox" in printed
    text, below = printed.splitlines()[4:6]
    assert text.replace(" ", "").startswith("Fox:#Fox⏎")
    first = shown["tokens"][: len(below.split())]
    assert below.split() == [str(token["heads"] or "·") for token in first]


def test_generate_and_compare(kmem: Run, bank_folder: Path) -> None:
    options = ("--prompt", "What does the fox do?", "--max-new-tokens", "4")
    (alone,) = json.loads(kmem("generate", bank_folder, *options, "--json").out)["answers"]
    assert alone["knowledge"] == "memories"
    assert len(alone["sources"]) == 3
    assert alone["trace"][0]["reads"][0]["attention"] > 0
    answers = json.loads(kmem("generate", bank_folder, *options, "--compare", "--json").out)["answers"]
    nothing, memories, text = answers
    assert [given["knowledge"] for given in answers] == ["nothing", "memories", "text"]
    assert nothing["prompt_tokens"] == memories["prompt_tokens"] < text["prompt_tokens"]
    assert memories["text"] == alone["text"]
    odd = kmem("generate", bank_folder, "--prompt", "[/] is list[int] :smile:?", "--max-new-tokens", "2", "--compare")
    assert "[/] is list[int] :smile:?" in odd.out  # user text is never markup
    shown = kmem("generate", bank_folder, *options, "--compare").out
    assert "the text in the prompt" in shown
    assert "prompt tokens" in shown


@pytest.mark.parametrize(("mode", "first", "reads"), [("paper", 2, 1), ("shifted", 2, 0), ("once", 3, 1)])
def test_generate_raw_prompt_and_cadence(kmem: Run, bank_folder: Path, mode: str, first: int, reads: int) -> None:
    cadence = ("--every", "2", "--mode", mode)
    (given,) = json.loads(
        kmem("generate", bank_folder, "--prompt", "fox", "--raw", *cadence, "--max-new-tokens", "6", "--top-k", "1", "--json").out
    )["answers"]
    assert given["prompt_tokens"] == 3
    span = given["trace"][0]
    assert (span["start"], span["stop"], len(span["reads"])) == (0, first, reads)


def test_bench_store(kmem: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On memories of 192 bytes and without processes; the measurement itself is tests/bench/test_store.py's."""
    tiny = StoreConfig(memories=160, slots=3, head_dim=16, rounds=1, cold_rounds=1, write_rounds=1)
    monkeypatch.setattr(measure, "time_processes", lambda config, stored, tick: {"memmap": [1.0], "kmem": [2.0]})
    monkeypatch.setattr(bench_store, "StoreConfig", lambda **given: replace(tiny, **given))
    outcome = kmem("bench", "store", "--memories", "161", "--rounds", "2", "--keep", tmp_path / "kept", "--json", tmp_path / "s.json")
    assert outcome.code == 0, outcome
    figures = json.loads((tmp_path / "s.json").read_text())
    assert (figures["benchmark"], figures["memories"]) == ("store", 161)
    assert figures["command"].startswith("kmem bench store --memories 161")
    assert {"tensorstore", "zarrs", "zarr"} <= set(figures["versions"])
    for said in ("161 memories of 192 B", "tensorstore", "read8_bandwidth_over_memmap", "0.500"):
        assert said in outcome.out
    assert json.loads(kmem("info", tmp_path / "kept" / "bank", "--json").out)["memories"] == 161
