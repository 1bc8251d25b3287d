"""`kmem plan`: JSON and tables for a preset, a model and flags; bad input is one sentence."""

import json
from pathlib import Path

import pytest

from kmem.plan import measure
from tests.cli.conftest import Run
from tests.cli.test_bad_input import refused
from tests.plan.test_texts import MEASURED


def test_the_preset_as_json(kmem: Run) -> None:
    found = json.loads(kmem("plan", "--preset", "memory3-2b", "--json").out)
    assert (set(found["write_tflop"]), set(found["read_tflop"])) == ({"parameters", "memory"}, {"memory", "text"})
    assert found["break_even"] == pytest.approx({"low": 0.494, "high": 13_388}, rel=5e-3)
    assert found["ledger"]["vq_bytes"] / 2**40 == pytest.approx(4.02, rel=5e-3)
    assert json.loads(kmem("plan", "--json").out) == found  # the preset is the default


def test_tables_say_what_belongs_where(kmem: Run, tmp_path: Path) -> None:
    shown = kmem("plan", "--uses", "0.1,50,1e6", "--picture", tmp_path / "plan.png").out
    for words in (
        "2.24",
        "0.308",
        "0.000144",
        "0.624",
        "0.494 to 13,388 uses",
        "7.2 PiB",
        "45.9 TiB",
        "4.0 TiB",
        "0.228%",
        "loading wins",
        "4.1 GiB",
        "33.4 GiB",
    ):
        assert words in shown
    rows = [line for line in shown.splitlines() if line.endswith(("text       │", "memory     │", "parameters │"))]
    assert [row.split()[1] for row in rows] == ["0.1", "50", "1e+06"]
    assert (tmp_path / "plan.png").exists()
    (tmp_path / "dense.json").write_text(json.dumps({"name": "dense", "budget": [[128] * 8] * 44}))
    assert "never cheapest" in kmem("plan", "--every", 10**6, "--profile", tmp_path / "dense.json").out


def test_an_index_that_waits_for_rows_says_so(kmem: Run) -> None:
    waits = "IDMap2,Flat, 384 numbers a vector; IVF1024,Flat once there are rows enough"
    assert waits in kmem("plan", "--references", 1000, "--index", "IVF1024,Flat").out
    assert "once there are" not in kmem("plan", "--references", 2000, "--index", "IVF1024,Flat").out


def test_flags_change_a_field(kmem: Run, tiny_folder: Path) -> None:
    options = ("--heads", 4, "--profile", "uniform8", "--references", 2000, "--flops", 1e12, "-k", 2, "--quantiser", "vq")
    found = json.loads(kmem("plan", *options, "--json").out)
    assert (found["shape"]["heads"], found["shape"]["layers"], found["profile"]) == (4, 44, "uniform8")
    assert (found["hardware"]["name"], found["hardware"]["flops"]) == ("a100, changed", 1e12)
    assert (found["ledger"]["references"], found["index"]["factory"]) == (2000, "IDMap2,Flat")
    assert found["tiers"]["ram_bytes"] == 3 * 2 * found["tiers"]["record_bytes"] == 3 * 2 * 44 * 4 * 8 * 2 * 14
    tiny = json.loads(kmem("plan", "--model", tiny_folder, "--tokens", 129, "--hardware", "h100", "--json").out)
    assert (tiny["shape"]["layers"], tiny["shape"]["mlp_width"], tiny["ledger"]["references"]) == (4, 48, 2)


def test_measure(kmem: Run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "FILE_BYTES", 1 << 20)
    monkeypatch.setattr("kmem.bench.encode.work.SQUARES", (64,))
    options = ("plan", "--model", tiny_folder, "--measure", "--folder", tmp_path, "--ram-gb", 3, "--dtype", "float32")
    found = json.loads(kmem(*options, "--json").out)["hardware"]
    assert (found["name"], found["ram_gb"], found["facts"]["dtype"]) == ("this machine, changed", 3, "float32")
    assert "this machine, changed: " in kmem(*options).out


def test_texts_are_extrapolated(kmem: Run, tmp_path: Path) -> None:
    (tmp_path / "pipeline.json").write_text(json.dumps(MEASURED))
    options = ("plan", "--pipeline", tmp_path / "pipeline.json", "--references", 10**7)
    assert json.loads(kmem(*options, "--json").out)["texts"]["core_h"] == pytest.approx(1.0)
    assert "reading, cleaning, cutting all texts" in kmem(*options).out
    refused(kmem("plan", "--pipeline", tmp_path / "gone.json"), "can't be read", "kmem bench pipeline --json")


def test_bad_input(kmem: Run, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(kmem("plan", "--preset", "memory3-2c"), "Unknown preset 'memory3-2c'", "memory3-2b")
    refused(kmem("plan", "--preset", "memory3-2b", "--model", "smollm2"), "two shapes")
    refused(kmem("plan", "--model", tmp_path / "gone"), "gone")
    with monkeypatch.context() as patch:
        patch.setattr(
            "kmem.encoder.load.load_outline", lambda name: pytest.fail("no model is looked for once its name is known to be none")
        )
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        refused(
            kmem("plan", "--model", "nosuch"),
            "There is no model 'nosuch' here",
            "no hub that answers",
            "gemma3-270m",
            "preset:memory3-tiny",
        )
        refused(kmem("plan", "--model", tmp_path), "There is no model", str(tmp_path))
    refused(kmem("plan", "--layers", "0"), "layers must be at least 1, not 0")
    refused(kmem("plan", "--heads", "7"), "40 query heads", "7 key-value heads")
    refused(kmem("plan", "--profile", "smollm2-720"), "30 layers × 3", "44 × 8")
    refused(kmem("plan", "--references", "5", "--tokens", "5"), "two sizes")
    refused(kmem("plan", "--tokens", "-5"), "tokens must be at least 1, not -5")
    refused(kmem("plan", "--uses", "often"), "--uses", "'often'", "commas")
    refused(kmem("plan", "--uses", "-1"), "uses must be a finite number from 0 on, not -1")
    refused(kmem("plan", "--quantiser", "int3"), "'int3'", "int8")
    refused(kmem("plan", "--index", "LSH"), "'LSH'", "HNSW32")
    refused(kmem("plan", "--hardware", "abacus"), "'abacus'", "a100")
    refused(kmem("plan", "--hardware", "a100", "--measure"), "--measure", "--hardware a100")
    refused(kmem("plan", "--flops", "nan"), "flops must be a positive number, not nan")
    refused(kmem("plan", "--measure", "--model", tiny_folder, "--folder", tmp_path / "gone"), "there is no folder", "--folder")
    refused(kmem("plan", "--picture", tmp_path / "plan.jpg"), "must end in .png")
    refused(kmem("plan", "--picture", tmp_path / "gone" / "plan.png"), "there is no folder")


def test_numbers_that_no_quotient_holds(kmem: Run) -> None:
    for option, value in (("--flops", "5e-324"), ("--disk-gb-per-s", "1e308"), ("--ram-gb", "1e300"), ("--utilisation", "1e-300")):
        refused(kmem("plan", option, value), option[2:].replace("-", "_"), "between 1e-09 and 1e+30")
    refused(kmem("plan", "--uses", "1,1e308"), "uses must be at most 1e+30, not 1e+308")
    assert "Infinity" not in kmem("plan", "--flops", 1e-9, "--disk-gb-per-s", 1e30, "--uses", 1e30, "--json").out
    assert "memory3, 1 reference;" in kmem("plan", "--references", 1).out
