"""The texts behind the memories: one Parquet file a shard, in row order, and the way from an id to its row."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kmem.document import Chunk
from kmem.errors import CorruptBankError, MemoryNotFoundError
from kmem.kstore.durable import RESTORE, read_verified
from kmem.kstore.manifest import Shard

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("row", pa.int64()),
        ("document_id", pa.int64()),
        ("source", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("tokens", pa.int32()),
        ("sha256", pa.string()),
    ]
)
"""`row` counts within the generation; `sha256` is the hex digest of the reference text in UTF-8."""


def encode_chunks(chunks: Sequence[Chunk], first_row: int) -> bytes:
    """A Parquet file of these chunks; the same chunks give the same bytes (with the same pyarrow)."""
    rows = [
        {field: getattr(chunk, field, None) for field in SCHEMA.names}
        | {"row": first_row + offset, "sha256": hashlib.sha256(chunk.reference.encode()).hexdigest()}
        for offset, chunk in enumerate(chunks)
    ]
    sink = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), sink, compression="zstd", compression_level=3)
    return sink.getvalue()


class ChunkTable:
    """The chunks of a bank. A position counts all rows of all shards in the order given.

    Files are read, and their sha256 checked, when first needed. Safe to use from threads.
    Raises CorruptBankError for a file that is not what the manifest says.
    """

    def __init__(self, root: Path, shards: Sequence[Shard]) -> None:
        self._root, self._shards = root, tuple(shards)
        self._starts = np.cumsum([0, *(shard.rows for shard in shards)])
        self._tables: dict[int, pa.Table] = {}
        self._lock = Lock()

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """[N] id at each position."""
        columns = [self._read(number, ["id", "row"])["id"].to_numpy() for number in range(len(self._shards))]
        return np.concatenate(columns).astype(np.int64) if columns else np.empty(0, dtype=np.int64)

    @cached_property
    def _by_id(self) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        order = np.argsort(self.ids, kind="stable")
        return self.ids[order], order

    def positions(self, ids: Sequence[int]) -> NDArray[np.intp]:
        """[n] position of each id, in the order given. Raises MemoryNotFoundError naming the first unknown id."""
        sorted_ids, order = self._by_id
        try:
            wanted = np.asarray(ids, dtype=np.int64).reshape(-1)
        except OverflowError:
            wanted = np.asarray([value if -(2**63) <= value < 2**63 else -1 for value in ids], dtype=np.int64)
        at = np.searchsorted(sorted_ids, wanted)
        found = at < len(sorted_ids)
        found[found] = sorted_ids[at[found]] == wanted[found]
        if not found.all():
            raise MemoryNotFoundError(f"The bank holds no memory with id {ids[int(np.argmin(found))]}; kmem query lists ids.")
        return order[at]

    def locate(self, position: int) -> tuple[int, int]:
        """Shard (its place in the sequence given) and row within it."""
        number = int(np.searchsorted(self._starts, position, side="right")) - 1
        return number, int(position - self._starts[number])

    def chunk(self, position: int) -> Chunk:
        """The chunk at a position, as it was written."""
        number, row = self.locate(position)
        with self._lock:
            if number not in self._tables:
                self._tables[number] = self._read(number, SCHEMA.names)
        record = self._tables[number].slice(row, 1).to_pylist()[0]
        return Chunk(**{field: record[field] for field in SCHEMA.names if field not in ("row", "sha256")})

    def _read(self, number: int, columns: list[str]) -> pa.Table:
        shard = self._shards[number]
        table = pq.read_table(pa.BufferReader(read_verified(self._root, shard.chunks)), columns=columns, use_threads=False)
        if not np.array_equal(table["row"].to_numpy(), np.arange(shard.first_row, shard.first_row + shard.rows)):
            raise CorruptBankError(
                f"{self._root / shard.chunks_file} does not hold rows {shard.first_row} to {shard.first_row + shard.rows - 1}; {RESTORE}"
            )
        return table
