"""Documents and chunks between stages: Parquet files written and read a batch at a time."""

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kmem.document import Chunk, Document, referred
from kmem.kstore.chunks import CHUNKS
from kmem.kstore.place import Place, Span
from kmem.kstore.stored import StoredFile, store_stream
from kmem.ranges import Ranges

DOCUMENTS = pa.schema([("source", pa.string()), ("title", pa.string()), ("text", pa.string())])
BATCH_ROWS = 1024
BATCH_CHARACTERS = 4 << 20
"""A batch ends with whichever is reached first."""


def write_records(place: Place, file: str, schema: pa.Schema, records: Iterable[Document | Chunk]) -> StoredFile:
    """A Parquet file of these records, one row group a batch; no more than a few batches are in memory."""
    return store_stream(place, file, _encoded(schema, records))


def documents_of(place: Place, file: str) -> Iterator[Document]:
    """Every document of a file, in order."""
    for batch in _opened(place, file).iter_batches(batch_size=BATCH_ROWS, use_threads=False):
        for record in batch.to_pylist():
            yield Document(**record)


def ids_of(place: Place, file: str) -> NDArray[np.int64]:
    """[n] ids of the chunks of a file."""
    ids: NDArray[np.int64] = _opened(place, file).read(columns=["id"], use_threads=False)["id"].to_numpy()
    return ids


def tokens_of(place: Place, file: str) -> NDArray[np.int32]:
    """[n] token counts of the chunks of a file."""
    tokens: NDArray[np.int32] = _opened(place, file).read(columns=["tokens"], use_threads=False)["tokens"].to_numpy()
    return tokens


def chunks_at(place: Place, file: str, rows: Sequence[int] | NDArray[np.int64]) -> Iterator[Chunk]:
    """The chunks at ascending rows of a file; row groups that hold none are not read."""
    for record in _at(place, file, rows, CHUNKS.names):
        yield Chunk(**dict(zip(CHUNKS.names, record, strict=True)))


def references_at(place: Place, file: str, rows: Sequence[int] | NDArray[np.int64]) -> Iterator[str]:
    """The `reference` of each of those chunks, from no more than its columns."""
    for title, text in _at(place, file, rows, ["title", "text"]):
        yield referred(title, text)


def _at(place: Place, file: str, rows: Sequence[int] | NDArray[np.int64], columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    opened = _opened(place, file)
    wanted, start = np.asarray(rows, dtype=np.int64), 0
    for group in range(opened.num_row_groups):
        end = start + opened.metadata.row_group(group).num_rows
        first, last = np.searchsorted(wanted, (start, end))
        if first < last:
            table = opened.read_row_group(group, columns=list(columns), use_threads=False).take(wanted[first:last] - start)
            yield from zip(*(table[name].to_pylist() for name in columns), strict=True)  # a column at a time takes half as long as rows
        start = end


def _encoded(schema: pa.Schema, records: Iterable[Document | Chunk]) -> Iterator[bytes]:
    sink = _Sink()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in _batches(records):
            columns = {name: [getattr(record, name) for record in batch] for name in schema.names}
            writer.write_table(pa.Table.from_pydict(columns, schema=schema), row_group_size=BATCH_ROWS)
            yield sink.take()
    yield sink.take()


def _batches(records: Iterable[Document | Chunk]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    characters = 0
    for record in records:
        batch.append(record)
        characters += len(record.text)
        if len(batch) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _opened(place: Place, file: str) -> pq.ParquetFile:
    if place.folder is None:
        return pq.ParquetFile(pa.PythonFile(_ranges(place, file), mode="r"))
    return pq.ParquetFile(place.folder / file, memory_map=True)


def _ranges(place: Place, file: str) -> Ranges:
    """A file of an object store. Raises FileNotFoundError."""
    sizes = place.lengths([file])
    if file not in sizes:
        raise FileNotFoundError(place.at(file))

    def read(start: int, end: int) -> bytes:
        data = bytearray(end - start)
        place.fetch([Span(file, sizes[file], start, memoryview(data))])
        return bytes(data)

    return Ranges(sizes[file], read)


class _Sink(io.RawIOBase):
    """A file that gives away what was written to it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._at += len(self._parts[-1])
        return len(self._parts[-1])

    def tell(self) -> int:
        return self._at

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
