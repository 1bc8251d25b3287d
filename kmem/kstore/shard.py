"""One shard of a bank: where its records lie, and whether they are what was written.

A shard file is Zarr v3's: the encoded inner chunks followed by an index of (offset, length) pairs, uint64 little-endian, one per
inner chunk of the grid, with 2⁶⁴−1 for a chunk that was never written, and a crc32c of those bytes. Each of our inner chunks is one
record followed by its own crc32c. The grid varies along one dimension only, so Zarr's default (Morton) order of the inner chunks is
the lexicographic one: records lie in row order. Another writer may have chosen another order; the index is what counts.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args

import google_crc32c
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

from kmem.errors import CorruptBankError, UnknownNameError
from kmem.kstore.place import Place, Span
from kmem.kstore.place.protocol import RESTORE
from kmem.kstore.stored import StoredFile

CRC_BYTES = 4
ENTRY_BYTES = 16
MISSING = np.iinfo(np.uint64).max

Verify = Literal["first", "always"]
"""When a record's crc32c is checked: the first time it is read through this object, or every time."""


def verify_of(verify: Verify | bool) -> Verify:
    """True is `always`, False is `first`. Raises UnknownNameError."""
    found: Verify = "always" if verify is True else "first" if verify is False else verify
    if found not in get_args(Verify):
        raise UnknownNameError("verify", str(verify), [*get_args(Verify), "True", "False"])
    return found


def encode_shard(records: Iterable[NDArray[Any]], grid_rows: int) -> Iterator[Buffer]:
    """A shard's bytes, a piece a block: the records of blocks [n, *record], each followed by its checksum, then the index.

    The same bytes as zarr-python's for an array in chunks of one record. Raises ValueError for more than `grid_rows` records.
    """
    rows = size = 0
    for block in records:
        plain = np.ascontiguousarray(block)
        flat = plain.reshape(len(plain), -1).view(np.uint8)
        rows, size = rows + len(flat), flat.shape[1] + CRC_BYTES
        piece = np.empty((len(flat), size), dtype=np.uint8)
        piece[:, :-CRC_BYTES] = flat
        checksums = np.array([google_crc32c.value(row) for row in flat], dtype="<u4")
        piece[:, -CRC_BYTES:] = checksums.view(np.uint8).reshape(-1, CRC_BYTES)
        yield piece.reshape(-1).data
    index = np.full((grid_rows, 2), MISSING, dtype="<u8")
    index[:rows] = np.stack([np.arange(rows) * size, np.full(rows, size)], axis=1)
    tail = index.tobytes()
    yield tail + google_crc32c.value(tail).to_bytes(CRC_BYTES, "little")


class ShardFile:
    """A shard of `grid_rows` inner chunks, of which the first `rows` hold records of `record_bytes` bytes.

    Making one reads the index, and nothing else. Safe to use from threads.
    Raises CorruptBankError, here and in `check`, naming file, row, and the expected and actual values.
    """

    def __init__(self, place: Place, stored: StoredFile, *, rows: int, grid_rows: int, record_bytes: int, verify: Verify) -> None:
        self._place, self._stored, self._rows, self._record_bytes = place, stored, rows, record_bytes
        expected = rows * (record_bytes + CRC_BYTES) + grid_rows * ENTRY_BYTES + CRC_BYTES
        if stored.size_bytes != expected:
            raise CorruptBankError(f"{self._name} has {stored.size_bytes} bytes where {rows} records need {expected}; {RESTORE}")
        self._every_time = verify == "always"
        self._verified = np.zeros(rows, dtype=bool)
        self._offsets = self._parse_index(grid_rows)

    def span(self, row: int, out: memoryview) -> Span:
        """Where a record lies, to be read into `out`."""
        return Span(self._stored.file, self._stored.size_bytes, self._offset(row), out)

    def checksum_span(self, row: int, out: memoryview) -> Span:
        """Where its checksum lies: right behind it."""
        return Span(self._stored.file, self._stored.size_bytes, self._offset(row) + self._record_bytes, out)

    def _offset(self, row: int) -> int:
        return row * (self._record_bytes + CRC_BYTES) if self._offsets is None else int(self._offsets[row])

    def needs_check(self, row: int) -> bool:
        """Whether the record's checksum is to be compared when it is read now."""
        return self._every_time or not self._verified[row]

    def check(self, row: int, record: NDArray[np.uint8], checksum: bytearray) -> None:
        """Compare a record's bytes with its checksum. Raises CorruptBankError."""
        actual, expected = google_crc32c.value(record), int.from_bytes(checksum, "little")
        if actual != expected:
            raise CorruptBankError(f"{self._name}: row {row} has crc32c {actual:08x} where {expected:08x} is stored; {RESTORE}")
        self._verified[row] = True

    @property
    def _name(self) -> str:
        return self._place.at(self._stored.file)

    def _parse_index(self, grid_rows: int) -> NDArray[np.uint64] | None:
        """[rows] offset of each record; None where they lie one after another."""
        tail = np.empty(grid_rows * ENTRY_BYTES + CRC_BYTES, dtype=np.uint8)
        self._place.fetch([Span(self._stored.file, self._stored.size_bytes, self._stored.size_bytes - len(tail), tail.data)], cold=True)
        actual, expected = google_crc32c.value(tail[:-CRC_BYTES]), int.from_bytes(tail[-CRC_BYTES:].tobytes(), "little")
        if actual != expected:
            raise CorruptBankError(f"{self._name}: the index has crc32c {actual:08x} where {expected:08x} is stored; {RESTORE}")
        index = tail[:-CRC_BYTES].view("<u8").reshape(grid_rows, 2)
        offsets, lengths = index[: self._rows, 0], index[: self._rows, 1]
        span = self._record_bytes + CRC_BYTES
        for row in np.flatnonzero((lengths != span) | (offsets > (self._rows - 1) * span)):
            found = "nothing" if offsets[row] == MISSING else f"{lengths[row]} bytes at {offsets[row]}"
            raise CorruptBankError(f"{self._name}: the index gives {found} for row {row} where a record has {span} bytes; {RESTORE}")
        in_order = bool((offsets == np.arange(self._rows, dtype=np.uint64) * np.uint64(span)).all())
        return None if in_order else offsets.copy()
