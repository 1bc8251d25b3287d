"""The whole benchmark of the store: write, compare, then time reads by everybody."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmem.bench.store.cold import time_cold_reads
from kmem.bench.store.config import FEW, MANY, StoreConfig
from kmem.bench.store.counted import missing_packages
from kmem.bench.store.crowd import measure_crowd
from kmem.bench.store.processes import READS, time_processes
from kmem.bench.store.reads import Tick, require_equal, time_reads
from kmem.bench.store.s3 import measure_s3
from kmem.bench.store.sides import SIDES, installed_sides
from kmem.bench.store.synthetic import Stored, make_stored
from kmem.bench.store.timing import p50, paired, ratios, summary
from kmem.bench.store.write import time_writes
from kmem.paths import ZARR
from kmem.progress import Progress, silent

READ5 = {
    "read5_p50_over_memmap": ("kmem", "memmap"),
    "read5_p50_over_memmap_view": ("kmem", "memmap_view"),
    "read5_always_over_memmap": ("kmem_always", "memmap"),
    "read5_tensorstore_over_kmem": ("tensorstore", "kmem"),
    "read5_zarr_over_kmem": ("zarr", "kmem"),
    "read5_zarrs_over_kmem": ("zarrs", "kmem"),
}
READ160 = {"read160_bandwidth_over_memmap": ("memmap", "kmem"), "read160_always_bandwidth_over_memmap": ("memmap", "kmem_always")}
READ8 = {"read8_bandwidth_over_memmap": ("memmap", "kmem")}
COLD5 = {"read5_cold_p50_over_memmap": ("kmem", "memmap"), "read5_cold_tensorstore_over_kmem": ("tensorstore", "kmem")}
COLD160 = {"read160_cold_bandwidth_over_memmap": ("memmap", "kmem")}
WRITE = {
    "write_over_sequential": ("stream", "sequential"),
    "write_over_sequential_files": ("stream", "files"),
    "shard_over_sequential": ("shard", "file"),
}
"""Key of the result → (side whose time is divided, side whose time divides)."""


def measure_store(config: StoreConfig, folder: Path, *, progress: Progress = silent) -> dict[str, Any]:
    """The ratios above, `overhead` (bytes in memories.zarr over payload), a table of p50, p99 and GB/s a kind of read, and `missing`.

    Where obstore and moto are installed also the `s3.…` figures of `measure_s3`.
    With `config.full` also `open_s` and `open_rss_bytes`. Everything is written below `folder`, which must be new or empty.
    """
    names = installed_sides()
    writes = time_writes(config, folder, _ticking(progress, "write", config.write_rounds))
    stored = make_stored(
        folder,
        memories=config.memories,
        slots=config.slots,
        head_dim=config.head_dim,
        shard_rows=config.shard_rows,
        seed=config.seed,
    )
    few, many = _warm(config, stored, names, progress)
    together = time_processes(config, stored, _ticking(progress, "processes", config.processes))
    cold_names = [name for name in names if name not in ("memmap_view", "kmem_always")]
    tick = _ticking(progress, "cold", 2 * config.cold_rounds)
    cold_few = time_cold_reads(cold_names, stored, FEW, config.cold_rounds, config.seed, tick)
    cold_many = time_cold_reads(cold_names, stored, MANY, config.cold_rounds, config.seed, tick)
    without = missing_packages()
    remote = {} if without else measure_s3(config, folder, _ticking(progress, "s3", config.s3_rounds))
    crowd = measure_crowd(config, folder, _ticking(progress, "crowd", config.crowd)) if config.full else {}
    return {
        **ratios(READ5, few),
        **ratios(READ160, many),
        **ratios(READ8, together),
        **ratios(COLD5, cold_few),
        **ratios(COLD160, cold_many),
        **paired(WRITE, writes),
        "overhead": _zarr_bytes(stored) / (config.memories * config.record_bytes),
        **remote,
        **crowd,
        "read5": summary(few, FEW * config.record_bytes),
        "read160": summary(many, MANY * config.record_bytes),
        "read8": summary(together, config.processes * READS * MANY * config.record_bytes),
        "read5_cold": summary(cold_few, FEW * config.record_bytes),
        "read160_cold": summary(cold_many, MANY * config.record_bytes),
        "write_gb_per_s": {name: round(1e-9 / p50(seconds), 3) for name, seconds in writes.items()},
        "memories": config.memories,
        "record_bytes": config.record_bytes,
        "shard_rows": config.shard_rows,
        "missing": [*(name for name in SIDES if name not in names), *without],
    }


def _warm(
    config: StoreConfig, stored: Stored, names: tuple[str, ...], progress: Progress
) -> tuple[Mapping[str, list[float]], Mapping[str, list[float]]]:
    sides = {name: SIDES[name](stored) for name in names}
    try:
        require_equal(sides, stored, _ticking(progress, "compare", config.memories))
        few = time_reads(sides, stored, FEW, config.rounds, config.seed, _ticking(progress, "read 5", config.rounds))
        tick = _ticking(progress, "read 160", config.large_rounds)
        return few, time_reads(sides, stored, MANY, config.large_rounds, config.seed, tick)
    finally:
        for side in sides.values():
            side.close()


def _zarr_bytes(stored: Stored) -> int:
    return sum(path.stat().st_size for path in (stored.bank / ZARR).rglob("*") if path.is_file())


def _ticking(progress: Progress, stage: str, total: int) -> Tick:
    done = 0
    progress(stage, 0, total)

    def tick(more: int) -> None:
        nonlocal done
        done += more
        progress(stage, done, total)

    return tick
