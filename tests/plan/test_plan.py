"""The whole plan: bytes as a bank and an index have them, hours, loading, the picture, shapes of real models, this machine's rates."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from kmem.bench.compression.ledger import ledger
from kmem.bench.encode.work import matmul_rates
from kmem.encoder.presets import PREFIX
from kmem.encoder.profiles import memory3_profile
from kmem.errors import ConfigError, ModelNotFoundError, UnknownNameError, UnsupportedModelError
from kmem.kstore.index.build import build_index
from kmem.kstore.index.config import IndexConfig
from kmem.plan import measure
from kmem.plan.choice import choice
from kmem.plan.cost import Cost
from kmem.plan.hardware import HARDWARE, Hardware, hardware
from kmem.plan.lengths import Lengths
from kmem.plan.measure import disk_gb_per_s, measured
from kmem.plan.model import model_shape
from kmem.plan.picture import draw_choice
from kmem.plan.plan import PlanConfig, loading, plan
from kmem.plan.shape import Shape, preset_shape
from kmem.plan.storage import index, tiers
from tests.tiny import BMOJO, save_tiny_model, tiny_model

SHAPE, LENGTHS, A100 = preset_shape("memory3-2b"), Lengths(), HARDWARE["a100"]
PROFILE = memory3_profile(SHAPE.layers, SHAPE.heads)
TINY = Shape(layers=4, width=32, query_heads=4, heads=2, head_dim=8, mlp_width=48, vocabulary=259)
PNG = b"\x89PNG\r\n"


def test_the_preset_gives_the_papers_figures() -> None:
    """Issue 6's line, each within 0.5%."""
    found = plan(SHAPE, PROFILE, LENGTHS, A100)
    assert found["write_tflop"] == pytest.approx({"parameters": 2.24, "memory": 0.308}, rel=5e-3)
    assert found["read_tflop"] == pytest.approx({"memory": 1.44e-4, "text": 0.624}, rel=5e-3)
    assert found["break_even"] == pytest.approx({"low": 0.494, "high": 13_388}, rel=5e-3)
    assert found["read_overhead"] == pytest.approx(0.00228, rel=5e-3)
    assert found["ledger"]["references"] == 1.12e8
    assert found["ledger"]["dense_bytes"] / 2**50 == pytest.approx(7.17, rel=5e-3)
    assert found["ledger"]["sparse_bytes"] / 2**40 == pytest.approx(45.9, rel=5e-3)
    assert found["ledger"]["vq_bytes"] / 2**40 == pytest.approx(4.02, rel=5e-3)
    assert found["ledger"].items() <= ledger().items()  # the benchmark's, by the same code
    json.dumps(found, allow_nan=False)


def test_the_ledger_follows_the_shape() -> None:
    base = plan(SHAPE, PROFILE, LENGTHS, A100)["ledger"]
    for name, factors in (("layers", (2, 1)), ("query_heads", (2, 1)), ("head_dim", (2, 2))):
        changed = replace(SHAPE, **{name: 2 * getattr(SHAPE, name)})
        profile = replace(PROFILE, budget=(*PROFILE.budget, *((0,) * 8,) * 44)) if name == "layers" else PROFILE
        found = plan(changed, profile, LENGTHS, A100)["ledger"]
        assert (found["dense_bytes"] / base["dense_bytes"], found["sparse_bytes"] / base["sparse_bytes"]) == factors


def test_tiers_and_hours() -> None:
    config = PlanConfig(references=1000, quantiser="bf16")
    found = plan(SHAPE, PROFILE, LENGTHS, replace(A100, flops=1e12, utilisation=0.5, disk_gb_per_s=1), config)
    record = 22 * 8 * 8 * 2 * 80 * 2
    assert found["tiers"] == {
        "quantiser": "bf16",
        "record_bytes": record,
        "disk_bytes": 1000 * record,
        "ram_bytes": 3 * 5 * record,  # 3 retrievals for 128 + 128 tokens
        "device_bytes": 2 * 5 * record,
        "resident_share": 1.0,
    }
    assert found["build"]["memory_h"] == pytest.approx(1000 * found["write_tflop"]["memory"] / 0.5 / 3600)
    assert found["build"]["parameters_h"] == pytest.approx(1000 * found["write_tflop"]["parameters"] / 0.5 / 3600)
    loading = found["loading"]
    assert loading["load_s"] == pytest.approx(record / 1e9)
    assert loading["encode_s"] == pytest.approx(found["write_tflop"]["memory"] / 0.5)
    assert (loading["encode_over_load"], loading["wins"]) == (pytest.approx(loading["encode_s"] / loading["load_s"]), True)
    assert not plan(SHAPE, PROFILE, LENGTHS, replace(A100, disk_gb_per_s=0.1), config)["loading"]["wins"]
    assert tiers(1, SHAPE, PROFILE, LENGTHS, "vq").record_bytes == 22 * 8 * 8 * 2 * 14
    half = plan(SHAPE, PROFILE, LENGTHS, replace(A100, ram_gb=(1000 * (384 * 4 + 8) + 250 * record) / 1e9), config)
    assert half["tiers"]["resident_share"] == pytest.approx(0.25)
    assert plan(SHAPE, PROFILE, LENGTHS, replace(A100, ram_gb=1e-6), config)["tiers"]["resident_share"] == 0


@pytest.mark.parametrize(("encode", "prefill", "wins"), [(2, 4, False), (4, 2, False), (4, 5, True), (3, 3, False)])
def test_loading_wins_where_it_beats_encoding_and_reading_text(encode: float, prefill: float, wins: bool) -> None:
    """Three seconds of loading."""
    machine = Hardware(name="one", flops=1.0, utilisation=1.0, disk_gb_per_s=1.0, ram_gb=1)
    assert loading(Cost(write=encode, read=0), Cost(write=0, read=prefill), machine, 3 * 10**9)["wins"] is wins


@pytest.mark.parametrize(
    ("asked", "rows"),
    [("auto", 200), ("auto", 10_000), ("IVF16,PQ2", 1000), ("IVF16,PQ4x6,RFlat", 1000), ("HNSW8", 1000), ("HNSW32", 1000)],
)
def test_the_index_is_the_one_that_is_built(asked: str, rows: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((rows, 8), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    built, stats = build_index(vectors, np.arange(rows, dtype=np.int64), config=IndexConfig(factory=asked))
    planned = index(rows, 8, asked)
    assert (planned.factory, planned.dim) == (stats.factory, stats.dim)
    assert len(faiss.serialize_index(built.searched)) == pytest.approx(planned.ram_bytes, rel=0.03)


def test_the_index_of_the_papers_corpus() -> None:
    found = index(112_000_000, 384)
    assert (found.factory, found.ram_bytes) == ("IVF16384,PQ96x8", 112_000_000 * (96 + 8) + (16_384 + 256) * 384 * 4)


def test_uses_name_the_cheapest() -> None:
    rows = plan(SHAPE, PROFILE, LENGTHS, A100, PlanConfig(uses=(0.1, 10, 20_000)))["uses"]
    assert [row["cheapest"] for row in rows] == ["text", "memory", "parameters"]
    assert rows[1]["text"] == pytest.approx(6.24, rel=5e-3)
    assert rows[1]["memory"] == pytest.approx(0.308 + 10 * 1.44e-4, rel=5e-3)


@pytest.mark.parametrize(("architecture", "dim"), [("llama", 8), ("gemma3", 12)])
def test_the_shape_of_a_model_without_its_weights(tmp_path: Path, architecture: str, dim: int) -> None:
    model = tiny_model(architecture)
    model.config.save_pretrained(tmp_path)  # and no weights
    assert model_shape(str(tmp_path)) == replace(TINY, head_dim=dim)
    assert model_shape(f"{PREFIX}memory3-tiny") == preset_shape("memory3-tiny")


def test_models_without_a_shape(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no config\.json"):
        model_shape(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelNotFoundError, match="No configuration could be loaded"):
        model_shape(str(tmp_path))
    mixture = {**tiny_model().config.to_dict(), "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 4}
    (tmp_path / "config.json").write_text(json.dumps(mixture))
    with pytest.raises(UnsupportedModelError, match="mixture of experts"):
        model_shape(str(tmp_path))
    tiny_model(BMOJO).config.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="mixes tokens by bmojo, which"):
        model_shape(str(tmp_path))


def test_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Really measured, only of less than usual."""
    monkeypatch.setattr(measure, "FILE_BYTES", 1 << 20)
    monkeypatch.setattr("kmem.bench.encode.work.SQUARES", (64,))
    rates: dict[str, float] = {}

    def noted(sizes: Any, **options: Any) -> dict[str, float]:
        rates.update(matmul_rates(sizes, **options))
        return rates

    monkeypatch.setattr("kmem.bench.encode.work.matmul_rates", noted)
    found = measured(TINY, LENGTHS, 4096, tmp_path, dtype="float32")
    assert found.flops == max(rates.values()) == rates[str(found.facts["product"])]
    assert found.flops > 1e6
    assert 1e-4 < found.disk_gb_per_s < 1e3
    assert 0.1 < found.ram_gb < 1e5
    assert found.facts["cold"] in (True, False)
    assert found.facts["product"] in ("64×64×64", "2048×32×32", "2048×32×48", "2048×48×32")
    assert not list(tmp_path.iterdir())
    json.dumps(plan(TINY, memory3_profile(4, 2), LENGTHS, found), allow_nan=False)


def test_the_disk_is_read_in_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks once a read: five records of 4,000 bytes a second."""
    monkeypatch.setattr(measure, "FILE_BYTES", 100_000)
    clock: Iterator[float] = iter(range(10**6))
    monkeypatch.setattr("kmem.bench.pairs.time.perf_counter", lambda: float(next(clock)))
    assert disk_gb_per_s(tmp_path, 4000, 5)[0] == 5 * 4000 / 1e9


def test_picture(tmp_path: Path) -> None:
    costs = choice(SHAPE, PROFILE, LENGTHS)
    draw_choice(costs, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(PNG)
    with pytest.raises(ConfigError, match=r"c\.jpg must end in \.png"):
        draw_choice(costs, tmp_path / "c.jpg")


def test_the_package_is_light() -> None:
    files = sorted(path.stem for path in Path(measure.__file__).parent.glob("*.py") if path.stem not in ("__init__", "model"))
    code = f"import sys, {', '.join(f'kmem.plan.{name}' for name in files)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "faiss"} & set(loaded)


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="references must be at least 1, not 0"):
        PlanConfig(references=0)
    with pytest.raises(ConfigError, match="uses must be a finite number"):
        PlanConfig(uses=(1, -1))
    with pytest.raises(ConfigError, match="is no search index that kmem builds"):
        PlanConfig(index="LSH")
    with pytest.raises(UnknownNameError, match=r"Unknown hardware 'b200'; there are a100, h100"):
        hardware("b200")
    with pytest.raises(ConfigError, match="flops must be a positive number, not 0"):
        replace(A100, flops=0)
    with pytest.raises(ConfigError, match=r"utilisation is a share of flops, at most 1, not 2"):
        replace(A100, utilisation=2)
    with pytest.raises(UnknownNameError, match="Unknown quantiser 'int3'"):
        plan(SHAPE, PROFILE, LENGTHS, A100, PlanConfig(quantiser="int3"))
    with pytest.raises(ConfigError, match=r"can't be measured in .*gone, there is no folder"):
        measured(TINY, LENGTHS, 4096, tmp_path / "gone")
    with pytest.raises(ConfigError, match="Device 'tpu' can't be used"):
        measured(TINY, LENGTHS, 4096, save_tiny_model(tmp_path), device="tpu")
