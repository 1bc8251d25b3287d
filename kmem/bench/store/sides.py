"""Who reads: one class a contender, each as fast as its public interface allows, each filling a buffer that is already there.

What was tried for the others (2,000 records of 90 KiB, five at a time, warm, 2 cores):
- zarr-python: `AsyncArray.getitem` of single rows gathered on one event loop takes 4 ms; one row after the other 6 ms, `oindex` 25 ms.
- tensorstore: one indexed read, cached metadata and shard indexes not asked after again, takes 0.6 ms; a read a row, a batch, its
  memory-mapped file mode and fewer threads are no faster. A cache that could hold records would measure the cache.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kmem.bench.store.synthetic import Stored
from kmem.kstore.bank import open_bank
from kmem.kstore.shard import Verify
from kmem.paths import ZARR

TENSORSTORE_CACHE = 1 << 20
"""Bytes: room for the indexes of the shards, not for records."""
ZARRS_PIPELINE = "zarrs.ZarrsCodecPipeline"


class Side(Protocol):
    """A contender, open."""

    def read(self, rows: Sequence[int], out: NDArray[Any]) -> None:
        """Fill `out`, [n, *record_shape] float16, with the records at these n rows, in this order."""
        ...

    def close(self) -> None:
        """Let go of all files."""
        ...


class Memmap:
    """numpy's memmap of the plain file, as `np.load` gives it."""

    def __init__(self, stored: Stored) -> None:
        self._records: NDArray[Any] = np.load(stored.plain, mmap_mode="r")

    def read(self, rows: Sequence[int], out: NDArray[Any]) -> None:
        records = self._records
        for place, row in enumerate(rows):
            out[place] = records[row]

    def close(self) -> None:
        del self._records


class MemmapView(Memmap):
    """The same as a plain array: without the 2 µs that numpy's subclass costs a slice, the least that copying can take in Python."""

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self._records = self._records.view(np.ndarray)


class Kmem:
    """This package: `Bank.read_into`."""

    def __init__(self, stored: Stored, verify: Verify = "first") -> None:
        self._bank, self._ids = open_bank(stored.bank, verify=verify), stored.ids

    def read(self, rows: Sequence[int], out: NDArray[Any]) -> None:
        ids = self._ids
        self._bank.read_into([ids[row] for row in rows], out)

    def close(self) -> None:
        self._bank.close()


class Tensorstore:
    """tensorstore's zarr3 driver."""

    def __init__(self, stored: Stored) -> None:
        import tensorstore

        self._wrap = tensorstore.array
        self._array = tensorstore.open(
            {
                "driver": "zarr3",
                "kvstore": {"driver": "file", "path": f"{_array_folder(stored)}/"},
                "context": {"cache_pool": {"total_bytes_limit": TENSORSTORE_CACHE}},
                "recheck_cached_metadata": False,
                "recheck_cached_data": False,
            },
            read=True,
        ).result()

    def read(self, rows: Sequence[int], out: NDArray[Any]) -> None:
        self._wrap(out).write(self._array[rows]).result()

    def close(self) -> None:
        del self._array


class ZarrPython:
    """zarr-python, with its own codecs or with those of another package."""

    def __init__(self, stored: Stored, pipeline: str | None = None) -> None:
        import zarr
        from zarr.api.asynchronous import open_array

        self._runner = asyncio.Runner()
        with zarr.config.set({} if pipeline is None else {"codec_pipeline.path": pipeline}):
            self._array = self._runner.run(open_array(store=_array_folder(stored), mode="r"))

    def read(self, rows: Sequence[int], out: NDArray[Any]) -> None:
        self._runner.run(self._gather(rows, out))

    async def _gather(self, rows: Sequence[int], out: NDArray[Any]) -> None:
        await asyncio.gather(*(self._one(row, out[place]) for place, row in enumerate(rows)))

    async def _one(self, row: int, out: NDArray[Any]) -> None:
        out[...] = await self._array.getitem(row)

    def close(self) -> None:
        self._runner.close()


SIDES: Mapping[str, Callable[[Stored], Side]] = {
    "memmap": Memmap,
    "memmap_view": MemmapView,
    "kmem": Kmem,
    "kmem_always": partial(Kmem, verify="always"),
    "tensorstore": Tensorstore,
    "zarr": ZarrPython,
    "zarrs": partial(ZarrPython, pipeline=ZARRS_PIPELINE),
}
"""`kmem` compares a record's checksum the first time it reads it, `kmem_always` every time, as tensorstore, zarr and zarrs do."""


def installed_sides() -> tuple[str, ...]:
    """Names in SIDES whose package is here; tensorstore and zarrs are the extra `bench`."""
    return tuple(name for name in SIDES if name not in ("tensorstore", "zarrs") or find_spec(name) is not None)


def _array_folder(stored: Stored) -> str:
    return str(next((stored.bank / ZARR).glob("*/kv")))
