"""Records that are written one by one, when they are first needed: plain Zarr chunks, one small file each, no shard around them.

    memories.zarr/<generation>/kv/c.<row>.0.0.0           one record, then its crc32c
    memories.zarr/<generation>/slot_position/c.<row>.0    the same

A record is there when its kv file is; that one is written last, and never changed. Slot positions come before it: of two writers at
once, the later one's may end up beside the earlier one's record. They are equal, unless the two encoded the memory differently.

The manifest lists none of these files: a file whose name has no row number in the manifest's generation is nobody's, one that has is
checked by its own crc32c.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import google_crc32c
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

from kmem.errors import CorruptBankError
from kmem.kstore.place import Place
from kmem.kstore.shard import CRC_BYTES
from kmem.paths import ZARR

KV, SLOT_POSITION = "kv", "slot_position"
MAX_REQUESTS = 32
"""Records asked of an object store at the same time."""
FEW = 8
"""So many records of an object store are looked for by name."""
TRIES = 10
"""A writer that tidies up may delete a file that is being written; then it is written again."""

_CHUNK = re.compile(r"c\.(\d+)(\.0)+")


def on_demand_files(generation: str) -> tuple[str, str]:
    """How the names of all files begin that a generation gets after it was committed."""
    return f"{ZARR}/{generation}/{KV}/c.", f"{ZARR}/{generation}/{SLOT_POSITION}/c."


class RecordFiles:
    """The records of a generation of `rows` memories. Safe to use from threads, and to write by several processes at once.

    dimensions: of the array kv. Raises CorruptBankError for a file of another length or with another checksum than its own.
    """

    def __init__(self, place: Place, generation: str, *, rows: int, dimensions: int, record_bytes: int, slots: int) -> None:
        self._place, self._generation, self._rows = place, generation, rows
        self._dimensions = {KV: dimensions, SLOT_POSITION: 2}
        self._bytes = {KV: record_bytes, SLOT_POSITION: slots}
        self._few = FEW if place.folder is None else max(FEW, rows // FEW)  # a file looked at takes longer than a name listed

    def there(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """[n] which of these rows' records are stored now; few are looked for by name, for many all that is there is listed."""
        if len(rows) <= self._few:
            names = [self._file(KV, row) for row in rows.tolist()]
            lengths = self._place.lengths(names)
            return np.array([name in lengths for name in names], dtype=bool)
        found = np.zeros(self._rows, dtype=bool)
        found[[row for row, _ in self._listed(KV)]] = True
        return found[rows]

    def stored_rows(self) -> list[int]:
        """The rows whose records are stored now."""
        return sorted(row for row, _ in self._listed(KV))

    def stored_bytes(self) -> int:
        """Bytes of all files that are stored now."""
        return sum(size for array in (KV, SLOT_POSITION) for _, size in self._listed(array))

    def read(self, rows: Sequence[int], array: str = KV) -> list[NDArray[np.uint8] | None]:
        """The bytes of each row's record, or of its slot positions; None where it was not written yet."""
        if self._place.folder is not None or len(rows) < 2:
            return [self._read(array, row) for row in rows]
        with ThreadPoolExecutor(min(MAX_REQUESTS, len(rows))) as threads:
            return list(threads.map(self._read, [array] * len(rows), rows))

    def positions(self, rows: Sequence[int]) -> list[NDArray[np.uint8] | None]:
        """[S] slot positions of each row's record; None where it was not written yet."""
        found = self.read(rows, SLOT_POSITION)
        lacking = [row for row, positions in zip(rows, found, strict=True) if positions is None]
        for row, record in zip(lacking, self.read(lacking), strict=True):
            if record is not None:
                raise CorruptBankError(f"{self._name(SLOT_POSITION, row)} is missing; {self._way_out(row)}")
        return found

    def write(self, row: int, record: NDArray[np.generic], slot_position: NDArray[np.uint8]) -> None:
        """Store a record, unless there is one already. Durable when it returns.

        Of two writers at once the first one's record stays, and either one's slot positions.
        """
        for attempt in range(TRIES):
            try:
                if self._read(KV, row) is None:
                    self._place.replace(self._file(SLOT_POSITION, row), b"".join(_checked(slot_position)))
                    self._place.create(self._file(KV, row), b"".join(_checked(record)))
            except FileExistsError:
                return
            except FileNotFoundError:
                if attempt + 1 == TRIES:
                    raise
            else:
                return

    def check(self, row: int) -> None:
        """Raise CorruptBankError unless a record that is there, and its slot positions, are what was written."""
        self._read(KV, row)
        self.positions([row])

    def _listed(self, array: str) -> Iterator[tuple[int, int]]:
        """Row and length of every file."""
        for file, size in self._place.sizes(f"{ZARR}/{self._generation}/{array}").items():
            found = _CHUNK.fullmatch(file.rpartition("/")[2])
            if found and int(found[1]) < self._rows and file == self._file(array, int(found[1])):
                yield int(found[1]), size

    def _read(self, array: str, row: int) -> NDArray[np.uint8] | None:
        try:
            data = np.frombuffer(self._place.read(self._file(array, row)), dtype=np.uint8)
        except (FileNotFoundError, NotADirectoryError):
            return None
        expected = self._bytes[array] + CRC_BYTES
        if len(data) != expected:
            raise CorruptBankError(f"{self._name(array, row)} has {len(data)} bytes where {expected} were written; {self._way_out(row)}")
        record, checksum = data[:-CRC_BYTES], int.from_bytes(data[-CRC_BYTES:].tobytes(), "little")
        actual = google_crc32c.value(record)
        if actual != checksum:
            raise CorruptBankError(
                f"{self._name(array, row)} was altered: it has crc32c {actual:08x} where {checksum:08x} is stored; {self._way_out(row)}"
            )
        return record

    def _file(self, array: str, row: int) -> str:
        return f"{ZARR}/{self._generation}/{array}/c.{row}{'.0' * (self._dimensions[array] - 1)}"

    def _name(self, array: str, row: int) -> str:
        return self._place.at(self._file(array, row))

    def _way_out(self, row: int) -> str:
        return f"delete {self._name(KV, row)}, and the memory is encoded again when it is next read."


def _checked(values: NDArray[np.generic]) -> Iterable[Buffer]:
    """The bytes of a chunk: the values, then their checksum."""
    plain = np.ascontiguousarray(values).tobytes()
    yield plain
    yield google_crc32c.value(plain).to_bytes(CRC_BYTES, "little")
