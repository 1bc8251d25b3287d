"""The texts behind the memories: one Parquet file a shard, in row order, read a row group at a time."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from itertools import groupby, pairwise
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kmem.document import Chunk
from kmem.errors import CorruptBankError
from kmem.kstore.manifest import Shard
from kmem.kstore.place import Place
from kmem.kstore.place.protocol import RESTORE
from kmem.kstore.stored import read_verified, require_unaltered

CHUNKS = pa.schema(
    [
        ("id", pa.int64()),
        ("document_id", pa.int64()),
        ("source", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("tokens", pa.int32()),
    ]
)
"""A Chunk's fields."""
_STORED = CHUNKS.insert(1, pa.field("row", pa.int64())).append(pa.field("sha256", pa.string()))
"""`row` counts within the generation; `sha256` is the hex digest of the reference text in UTF-8."""

GROUP_ROWS = 1024
"""Rows that are decompressed to show one."""
KEPT_GROUPS, KEPT_FILES = 64, 32


def encode_chunks(chunks: Sequence[Chunk], first_row: int) -> bytes:
    """A Parquet file of these chunks; the same chunks give the same bytes (with the same pyarrow)."""
    columns: dict[str, Sequence[Any]] = {name: [getattr(chunk, name) for chunk in chunks] for name in CHUNKS.names}
    columns["row"] = range(first_row, first_row + len(chunks))
    columns["sha256"] = [hashlib.sha256(chunk.reference.encode()).hexdigest() for chunk in chunks]
    sink = pa.BufferOutputStream()  # a Python file would want Python's lock for every piece
    pq.write_table(pa.Table.from_pydict(columns, schema=_STORED), sink, compression="zstd", compression_level=3, row_group_size=GROUP_ROWS)
    return bytes(sink.getvalue())


class ChunkTable:
    """The chunks of a bank's shards, in the order given.

    Files are read, and their digest checked, when first needed. Safe to use from threads.
    Raises CorruptBankError for a file that is not what the manifest says.
    """

    def __init__(self, place: Place, shards: Sequence[Shard]) -> None:
        self._place, self._shards = place, tuple(shards)
        self._files: OrderedDict[int, tuple[pq.ParquetFile, list[int]]] = OrderedDict()
        self._groups: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._lock = Lock()

    def all_ids(self) -> NDArray[np.int64]:
        """[N] ids of all shards."""
        columns = [self.ids(number) for number in range(len(self._shards))]
        return np.concatenate(columns) if columns else np.empty(0, dtype=np.int64)

    def ids(self, number: int) -> NDArray[np.int64]:
        """[rows] ids of a shard."""
        with self._lock, self._file(number) as file:
            table = file.read(columns=["id", "row"], use_threads=False)
        found: NDArray[np.int64] = self._checked(number, table, 0)["id"].to_numpy()
        return found

    def require_texts(self, number: int) -> None:
        """Raise CorruptBankError unless every text of a shard has the sha256 that stands beside it."""
        with self._lock, self._file(number) as file:
            table = self._checked(number, file.read(use_threads=False), 0)
        for record in table.to_pylist():
            chunk = _chunk(record)
            if hashlib.sha256(chunk.reference.encode()).hexdigest() != record["sha256"]:
                raise CorruptBankError(f"{self._place.at(self._shards[number].chunks.file)}: the text of {chunk.id} was altered; {RESTORE}")

    def chunks(self, number: int, rows: range) -> list[Chunk]:
        """The chunks at consecutive rows of a shard."""
        found: list[Chunk] = []
        with self._lock:
            _, starts = self._open(number)
            for group, (start, end) in enumerate(pairwise(starts)):
                first, last = max(rows.start, start), min(rows.stop, end)
                if first < last:
                    records = self._group(number, group).slice(first - start, last - first).to_pylist()
                    found += [_chunk(record) for record in records]
        return found

    def at(self, places: Sequence[tuple[int, int]]) -> list[Chunk]:
        """The chunks at (shard, row) pairs; rows that follow one another are read together."""
        found: list[Chunk] = []
        for _, run in groupby(enumerate(places), key=lambda counted: (counted[1][0], counted[1][1] - counted[0])):
            (_, (number, first)), *others = run
            found += self.chunks(number, range(first, first + 1 + len(others)))
        return found

    def _open(self, number: int) -> tuple[pq.ParquetFile, list[int]]:
        """The file of a shard and where its row groups start; few are held open at a time."""
        if number not in self._files:
            file = self._file(number)
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
            self._files[number] = file, np.cumsum([0, *sizes]).tolist()
            if len(self._files) > KEPT_FILES:
                self._files.popitem(last=False)[1][0].close()
        self._files.move_to_end(number)
        return self._files[number]

    def _file(self, number: int) -> pq.ParquetFile:
        """Opened once its bytes are known to be those written."""
        stored = self._shards[number].chunks
        if self._place.folder is None:
            return pq.ParquetFile(pa.BufferReader(read_verified(self._place, stored)))
        require_unaltered(self._place, stored)
        return pq.ParquetFile(self._place.folder / stored.file, memory_map=True)

    def _group(self, number: int, group: int) -> pa.Table:
        key = number, group
        if key not in self._groups:
            file, starts = self._open(number)
            self._groups[key] = self._checked(number, file.read_row_group(group, use_threads=False), starts[group])
            if len(self._groups) > KEPT_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]

    def _checked(self, number: int, table: pa.Table, start: int) -> pa.Table:
        shard = self._shards[number]
        first = shard.first_row + start
        if not np.array_equal(table["row"].to_numpy(), np.arange(first, first + len(table))) or start + len(table) > shard.rows:
            raise CorruptBankError(
                f"{self._place.at(shard.chunks.file)} does not hold rows {shard.first_row} to {shard.first_row + shard.rows - 1}; {RESTORE}"
            )
        return table


def _chunk(record: dict[str, Any]) -> Chunk:
    return Chunk(**{field: record[field] for field in CHUNKS.names})
