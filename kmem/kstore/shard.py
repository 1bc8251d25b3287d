"""Reading one record of a Zarr v3 shard without Zarr: parse the index once, then copy out of a memory map.

A shard file is the encoded inner chunks followed by an index of (offset, length) pairs, uint64 little-endian, one per inner
chunk of the grid, with 2⁶⁴−1 for a chunk that was never written, and a crc32c of those bytes. Each of our inner chunks is one
record followed by its own crc32c. The grid varies along one dimension only, so Zarr's default (Morton) order of the inner
chunks is the lexicographic one: records lie in row order.
"""

import mmap
from pathlib import Path
from typing import Any, Literal

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from kmem.errors import ConfigError, CorruptBankError
from kmem.kstore.durable import RESTORE

CRC_BYTES = 4
ENTRY_BYTES = 16
MISSING = np.iinfo(np.uint64).max

Verify = Literal["first", "always"]
"""When a record's crc32c is checked: the first time it is read through this object, or every time."""


class ShardFile:
    """A shard of `grid_rows` inner chunks, of which the first `rows` hold records of `record_shape` and `dtype`.

    Opening maps the file and checks its length and the index's crc32c; no record is read. Safe to use from threads.
    Raises CorruptBankError, here and in `read_into`, naming file, row, and the expected and actual values.
    """

    def __init__(
        self,
        path: Path,
        *,
        rows: int,
        grid_rows: int,
        record_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        verify: Verify = "first",
    ) -> None:
        self.path, self.rows, self.record_shape, self.dtype = path, rows, record_shape, dtype
        self.record_bytes = int(np.prod(record_shape)) * dtype.itemsize
        self._every_time = verify == "always"
        self._verified = np.zeros(rows, dtype=bool)
        self._bytes = self._map(rows * (self.record_bytes + CRC_BYTES) + grid_rows * ENTRY_BYTES + CRC_BYTES)
        self._offsets = self._parse_index(grid_rows)

    def read_into(self, row: int, out: NDArray[Any]) -> None:
        """Copy record `row` into `out`, a C-contiguous array of this shard's record shape and dtype (else ConfigError)."""
        if out.shape != self.record_shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise ConfigError(f"A record is a contiguous {self.dtype} array of shape {self.record_shape}, not {out.dtype} {out.shape}.")
        if not 0 <= row < self.rows:
            raise ConfigError(f"{self.path} holds rows 0 to {self.rows - 1}, not row {row}.")
        start = self._offsets[row]
        end = start + self.record_bytes
        target = out.reshape(-1).view(np.uint8)
        target[:] = self._bytes[start:end]
        if self._every_time or not self._verified[row]:
            self._check_record(row, target, self._bytes[end : end + CRC_BYTES])

    def _map(self, expected: int) -> NDArray[np.uint8]:
        """The file's bytes; the map lives as long as the array does, so a reader in another thread never loses it."""
        try:
            actual = self.path.stat().st_size
            if actual != expected:
                raise CorruptBankError(f"{self.path} has {actual} bytes where {self.rows} records need {expected}; {RESTORE}")
            with self.path.open("rb") as file:
                return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
        except FileNotFoundError:
            raise CorruptBankError(f"{self.path} is missing; {RESTORE}") from None

    def _parse_index(self, grid_rows: int) -> list[int]:
        tail = self._bytes[len(self._bytes) - grid_rows * ENTRY_BYTES - CRC_BYTES :]
        actual, expected = google_crc32c.value(tail[:-CRC_BYTES]), _crc_of(tail[-CRC_BYTES:])
        if actual != expected:
            raise CorruptBankError(f"{self.path}: the index has crc32c {actual:08x} where {expected:08x} is stored; {RESTORE}")
        index = tail[:-CRC_BYTES].view("<u8").reshape(grid_rows, 2)
        offsets, lengths = index[: self.rows, 0], index[: self.rows, 1]
        span = self.record_bytes + CRC_BYTES
        for row in np.flatnonzero((lengths != span) | (offsets > (self.rows - 1) * span)):
            found = "nothing" if offsets[row] == MISSING else f"{lengths[row]} bytes at {offsets[row]}"
            raise CorruptBankError(f"{self.path}: the index gives {found} for row {row} where a record has {span} bytes; {RESTORE}")
        return [int(offset) for offset in offsets]

    def _check_record(self, row: int, record: NDArray[np.uint8], stored: NDArray[np.uint8]) -> None:
        actual, expected = google_crc32c.value(record), _crc_of(stored)
        if actual != expected:
            raise CorruptBankError(f"{self.path}: row {row} has crc32c {actual:08x} where {expected:08x} is stored; {RESTORE}")
        self._verified[row] = True


def _crc_of(stored: NDArray[np.uint8]) -> int:
    return int.from_bytes(stored.tobytes(), "little")
