"""Parquet: one document a row, a column of text, perhaps one of titles and one of ids. Cut at row groups, streamed within them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kmem.document import Document
from kmem.errors import UnreadableError
from kmem.kbuild.readers.config import ReadConfig
from kmem.kbuild.readers.decode import one_line, sample
from kmem.kbuild.readers.files import raw
from kmem.kbuild.readers.reading import TO_THE_END, Reading
from kmem.kbuild.readers.whole import Span, too_long, whole

_BATCH_ROWS = 256
_BUFFER_BYTES = 1 << 20
"""Of a column of a row group; without it, all of it would be read at once."""


def split_parquet(path: str, size: int, config: ReadConfig, piece_bytes: int) -> list[Span]:
    """Pieces of whole row groups, in rows, of at most `piece_bytes` unless one alone is larger; a damaged file is one piece."""
    try:
        with _table(path, path) as table:
            groups = [table.metadata.row_group(index) for index in range(table.metadata.num_row_groups)]
            sizes = [(group.num_rows, _size(group, config)) for group in groups]
    except UnreadableError:
        return whole(path, size, config, piece_bytes)
    spans: list[Span] = []
    start = end = held = 0
    for rows, size in sizes:
        if end > start and held + size > piece_bytes:
            spans.append((start, end, held, 0))
            start, held = end, 0
        end, held = end + rows, held + size
    return [*spans, (start, end, held, 0)]


def _size(group: Any, config: ReadConfig) -> int:
    columns = [group.column(index) for index in range(group.num_columns)]
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema in (config.text, config.title or "title"))


@contextmanager
def _table(path: str, name: str) -> Iterator[pq.ParquetFile]:
    with raw(path) as stream:
        try:
            table = pq.ParquetFile(stream, buffer_size=_BUFFER_BYTES)
        except (pa.ArrowException, OSError) as error:
            raise _damaged("not Parquet", name, error) from error
        yield table


def _damaged(reason: str, place: str, error: Exception) -> UnreadableError:
    said = " ".join(str(error).split())[:200]
    return UnreadableError(reason, f"{place} can't be read as Parquet ({said}): write the file again or remove it.")


def read_parquet(reading: Reading) -> Iterator[Document]:
    """One document a row; its source ends in `#` and the row number counted from 0, or its id. A null text reads as empty."""
    with _table(reading.path, reading.name) as table:
        columns = _columns(reading.name, table.schema_arrow, reading.config)
        first = 0
        for index in range(table.metadata.num_row_groups):
            rows = table.metadata.row_group(index).num_rows
            if first >= reading.start and (reading.end == TO_THE_END or first < reading.end):
                yield from _group(reading, table, index, first, columns)
            first += rows


def _group(reading: Reading, table: pq.ParquetFile, index: int, row: int, columns: dict[str, str]) -> Iterator[Document]:
    """Where a group is damaged, the rows before that are kept."""
    end = row + table.metadata.row_group(index).num_rows
    batches = table.iter_batches(batch_size=_BATCH_ROWS, row_groups=[index], columns=list(dict.fromkeys(columns.values())))
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            place = f"{reading.name}, rows {row} to {end - 1}"
            reading.set_aside(place, _damaged("damaged", place, error))
            return
        if batch is None:
            return
        for offset, record in _rows(reading, batch, row):
            place = f"{reading.name}, row {row + offset}"
            text, title = record[columns["text"]] or "", record[columns["title"]] if "title" in columns else None
            identifier = record[columns["id"]] if "id" in columns else None
            if len(text) > reading.config.max_document_bytes:
                reading.set_aside(place, too_long(place, reading.config.max_document_bytes, text.encode()))
            else:
                source = f"{reading.name}#{row + offset if identifier is None else identifier}"
                yield Document(source=source, text=text, title=one_line(title or ""))
        row += batch.num_rows


def _rows(reading: Reading, batch: pa.RecordBatch, row: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a batch as dictionaries, with their place in it, less those that hold bytes which are no text."""
    try:
        yield from enumerate(batch.to_pylist())
    except UnicodeDecodeError:
        for offset in range(batch.num_rows):
            place = f"{reading.name}, row {row + offset}"
            try:
                [record] = batch.slice(offset, 1).to_pylist()
            except UnicodeDecodeError as error:
                said = f"{place} holds what is not UTF-8 text: write the file again with its text as UTF-8, or remove the row."
                reading.set_aside(place, UnreadableError("not UTF-8", said, sample(bytes(error.object))))
            else:
                yield offset, record


def _columns(name: str, schema: pa.Schema, config: ReadConfig) -> dict[str, str]:
    """The column of each use. Raises UnreadableError where one that was asked for is missing, or holds something else."""
    asked = {"text": config.text, "title": config.title, "id": config.id}
    columns = {use: column for use, column in asked.items() if column is not None}
    if config.title is None and "title" in schema.names:
        columns["title"] = "title"
    for use, column in columns.items():
        if column not in schema.names:
            there = ", ".join(schema.names)
            raise UnreadableError(
                f"no column {column!r}",
                f"{name} has no column {column!r}: name the one that holds the {use} by --{use}-field (it has {there}).",
            )
        kind = schema.field(column).type
        if not (_is_text(kind) or (use == "id" and pa.types.is_integer(kind))):
            said = f"{name}: column {column!r} must hold strings, not {kind}: cast it, or name another column for the {use}."
            raise UnreadableError(f"column {column!r} is no text", said)
    return columns


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
