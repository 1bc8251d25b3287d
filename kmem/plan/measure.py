"""What this machine does: its disk, read cold where it can be, and its fastest matrix product. Imports torch when asked."""

import os
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from kmem.arguments import path_of
from kmem.encoder.defaults import AUTO, BATCH_SIZE, DEVICE
from kmem.errors import ConfigError
from kmem.plan.hardware import GIGA, Hardware
from kmem.plan.lengths import Lengths
from kmem.plan.shape import Shape

FILE_BYTES = 128 << 20
ROUNDS = 12
BLOCK = 1 << 20


def measured(
    shape: Shape, lengths: Lengths, record_bytes: int, folder: str | Path = ".", *, dtype: str = AUTO, device: str = DEVICE
) -> Hardware:
    """This machine: RAM as the system has it; FLOP/s of the fastest of the products that `kmem bench encode` tries, 16 references a batch;
    bytes a second of reading `top_k` records of that size from random places of a file of 128 MiB in `folder`, which is removed again.

    `facts`: `cold`, whether the page cache could be emptied before each read (a file system in memory has nothing else), `folder`,
    `product` (rows × inner × columns), `dtype` and `device`. Takes seconds to half a minute.
    Raises ConfigError for a folder that isn't there and a device that can't be used, UnknownNameError for a dtype.
    """
    import torch

    from kmem.bench.encode.work import matmul_rates, matmul_sizes
    from kmem.encoder.load import precision, require_device

    place = path_of(folder, "folder")
    if not place.is_dir():
        raise ConfigError(f"The disk can't be measured in {place}, there is no folder of that name; name another (--folder).")
    require_device(device)
    numbers, target = precision(dtype, device), torch.device(device)
    gb_per_s, cold = disk_gb_per_s(place, record_bytes, lengths.top_k)
    sizes = matmul_sizes(BATCH_SIZE * lengths.reference, shape.width, shape.mlp_width, device=target)
    rates = matmul_rates(sizes, dtype=numbers, device=target)
    best = max(rates, key=lambda name: rates[name])
    return Hardware(
        name="this machine",
        flops=rates[best],
        disk_gb_per_s=gb_per_s,
        ram_gb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGA,
        facts={
            "cold": cold,
            "folder": str(place.resolve()),
            "product": best,
            "dtype": str(numbers).removeprefix("torch."),
            "device": device,
        },
    )


def disk_gb_per_s(folder: Path, record_bytes: int, count: int) -> tuple[float, bool]:
    """(10⁹ bytes a second of reading `count` records from random places, the median of 12 reads; whether all of them were cold)."""
    from kmem.bench.pairs import timed
    from kmem.bench.store.cold import forget, settle

    records = max(FILE_BYTES // record_bytes, count)
    with TemporaryDirectory(prefix="kmem-plan-", dir=folder) as temporary:
        file = Path(temporary) / "records"
        _fill(file, records * record_bytes)
        settle([file])
        draws = np.random.default_rng(0)
        colds, seconds = [], []
        for _ in range(ROUNDS):
            rows = draws.choice(records, count, replace=False).tolist()
            colds.append(forget([file]))
            seconds.append(timed(partial(_read, file, rows, record_bytes)))
    return count * record_bytes / median(seconds) / GIGA, all(colds)


def _fill(file: Path, size: int) -> None:
    """Random bytes: what a drive can't compress."""
    block = np.random.default_rng(0).bytes(BLOCK)
    with file.open("wb") as out:
        for start in range(0, size, BLOCK):
            out.write(block[: size - start])


def _read(file: Path, rows: list[int], record_bytes: int) -> None:
    room = bytearray(record_bytes)
    with file.open("rb", buffering=0) as opened:
        for row in rows:
            os.preadv(opened.fileno(), [room], row * record_bytes)
