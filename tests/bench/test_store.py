"""The benchmark of the store on memories of a few hundred bytes: every figure is there, and wrong answers are never timed."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kmem.bench.store import cold, counted, measure, processes
from kmem.bench.store.config import StoreConfig
from kmem.bench.store.crowd import measure_crowd
from kmem.bench.store.measure import measure_store
from kmem.bench.store.reads import require_equal, time_reads
from kmem.bench.store.s3 import measure_s3
from kmem.bench.store.sides import SIDES, Kmem, Side, installed_sides
from kmem.bench.store.synthetic import Stored, make_stored
from kmem.bench.store.timing import paired, ratios, summary
from kmem.errors import ConfigError, CorruptBankError
from kmem.kstore.bank import Bank
from kmem.memories import Memories

TINY = StoreConfig(
    memories=161,
    slots=3,
    head_dim=16,
    shard_bytes=60 * 192,
    rounds=2,
    cold_rounds=1,
    processes=2,
    process_rounds=2,
    write_rounds=1,
    s3_memories=40,
    s3_rounds=5,
    crowd=40,
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    return make_stored(tmp_path_factory.mktemp("store"), memories=161, slots=3, head_dim=16, shard_rows=60, seed=0)


class Wrong(Kmem):
    """Gives back one wrong number, in row 7."""

    def read(self, rows: Sequence[int], out: NDArray[Any]) -> None:
        super().read(rows, out)
        if 7 in rows:
            out[rows.index(7), 1, 2, 3] += 1


def test_every_figure_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the processes, which have a test of their own."""
    monkeypatch.setattr(measure, "time_processes", lambda config, stored, tick: tick(2) or {"memmap": [2.0, 1.0], "kmem": [1.0, 2.0]})
    stages: list[tuple[str, int, int]] = []
    figures = measure_store(TINY, tmp_path, progress=lambda *state: stages.append(state))
    wanted = {*measure.READ5, *measure.READ160, *measure.READ8, *measure.WRITE, "overhead"}
    assert wanted <= {name for name, value in figures.items() if isinstance(value, float)}
    assert {"memmap", "kmem", "tensorstore", "zarr", "zarrs"} <= set(figures["read5"]) == set(figures["read160"])
    assert figures["read8_bandwidth_over_memmap"] == 1.0
    assert figures["missing"] == []
    assert figures["s3.read5_requests"] <= 5
    assert figures["overhead"] > 1
    assert json.loads(json.dumps(figures)) == figures
    for stage in {name for name, _, _ in stages}:
        states = [state for state in stages if state[0] == stage]
        assert states[0][1] == 0
        assert states[-1][1] == states[-1][2]


def test_all_sides_agree_and_one_that_does_not_is_named(stored: Stored) -> None:
    sides: dict[str, Side] = {name: SIDES[name](stored) for name in SIDES}
    require_equal(sides, stored)
    with pytest.raises(CorruptBankError, match="liar reads other bytes than numpy's memmap at row 7 of"):
        require_equal({"memmap": sides["memmap"], "liar": Wrong(stored)}, stored)
    times = time_reads(sides, stored, 5, 3, seed=0)
    assert set(times) == set(SIDES)
    assert all(3 <= len(seconds) <= 24 and min(seconds) > 0 for seconds in times.values())
    for side in sides.values():
        side.close()


def test_processes_read_side_by_side_and_compare(stored: Stored) -> None:
    times = processes.time_processes(TINY, stored)
    assert {name: len(seconds) for name, seconds in times.items()} == {"memmap": 2, "kmem": 2}
    assert all(seconds > 0 for turns in times.values() for seconds in turns)


def test_damage_stops_all_processes(stored: Stored, tmp_path: Path) -> None:
    """None waits for the one that found it."""
    plain = tmp_path / "plain.npy"
    records = np.load(stored.plain)
    records[100] += 1
    np.save(plain, records)
    with pytest.raises(CorruptBankError, match="row 100"):
        processes.time_processes(TINY, Stored(bank=stored.bank, plain=plain, ids=stored.ids, record_shape=stored.record_shape))


def test_no_cold_figures_where_the_page_cache_stays_full(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    times = cold.time_cold_reads(["memmap", "kmem"], stored, 5, 2, seed=0)
    assert times == {} or [len(seconds) for seconds in times.values()] == [2, 2]
    monkeypatch.setattr(cold, "_is_cached", lambda path: True)
    monkeypatch.setattr(cold, "ATTEMPTS", 1)
    assert cold.time_cold_reads(["memmap", "kmem"], stored, 5, 2, seed=0) == {}


def test_a_contender_that_is_not_installed_leaves_its_keys_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmem.bench.store.sides.find_spec", lambda name: None)
    names = installed_sides()
    assert "kmem" in names
    assert not {"tensorstore", "zarrs"} & set(names)
    assert "read5_zarrs_over_kmem" not in ratios(measure.READ5, {name: [1.0] for name in names})


def test_five_memories_in_s3_are_five_requests_and_their_bytes(tmp_path: Path) -> None:
    environment = dict(os.environ)
    figures = measure_s3(TINY, tmp_path)
    assert set(figures) == {
        f"s3.{key}"
        for key in ("write_requests", "open_requests", "first_read_requests", "read5_requests", "read5_bytes_over_payload", "read5_p50_s")
    }
    assert 1 <= figures["s3.read5_requests"] <= 5
    assert figures["s3.read5_bytes_over_payload"] > 1
    assert 5 < figures["s3.open_requests"] < 40 < figures["s3.write_requests"] < 120
    assert dict(os.environ) == environment


def test_without_moto_there_are_no_figures_of_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmem.bench.store.counted.find_spec", lambda name: None if name == "moto" else name)
    assert counted.missing_packages() == ["moto"]
    sides = ("memmap", "kmem", "stream", "sequential", "files", "shard", "file")
    for name in ("time_writes", "time_processes", "time_cold_reads"):
        monkeypatch.setattr(measure, name, lambda *_: {side: [1.0] for side in sides})
    figures = measure_store(TINY, tmp_path)
    assert figures["missing"] == ["moto"]
    assert not [key for key in figures if key.startswith("s3.")]


def test_a_wrong_answer_from_s3_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Bank.read

    def wrong(bank: Bank, ids: Sequence[int], *, positions: bool = True) -> Memories:
        found = original(bank, ids, positions=positions)
        if bank.place.folder is None:
            found.kv[0, 0, 0, 0] += 1
        return found

    monkeypatch.setattr(Bank, "read", wrong)
    with pytest.raises(CorruptBankError, match=r"s3://bench/bank and .* differ"):
        measure_s3(TINY, tmp_path)


def test_the_crowd_is_opened_in_a_process_of_its_own(tmp_path: Path) -> None:
    figures = measure_crowd(TINY, tmp_path)
    assert figures["crowd"] == 40
    assert 0 < figures["open_s"] < 60
    assert figures["open_rss_bytes"] > 0


def test_figures_are_medians() -> None:
    times = {"kmem": [1.0, 2.0, 9.0], "memmap": [4.0, 1.0, 0.5]}
    assert ratios({"x": ("kmem", "memmap"), "y": ("kmem", "zarr")}, times) == {"x": 2.0}
    assert paired({"x": ("kmem", "memmap")}, times) == {"x": 2.0}
    assert paired({"x": ("kmem", "memmap")}, {"kmem": [1.0, 4.0, 9.0], "memmap": [1.0, 1.0, 3.0]}) == {"x": 3.0}
    assert summary(times, 4_000_000_000)["kmem"]["gb_per_s"] == 2.0


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match=r"at least 160.*not 20"):
        StoreConfig(memories=20)
    with pytest.raises(ConfigError, match="rounds must be at least 1"):
        StoreConfig(rounds=0)
