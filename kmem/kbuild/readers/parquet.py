"""Parquet: one document a row, column `text` required, `title` optional; streamed, never the whole table."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kmem.document import Document
from kmem.errors import SourceError
from kmem.kbuild.readers.decode import one_line

_BATCH_ROWS = 1024


def read_parquet(path: Path, counts: Counter[str]) -> Iterator[Document]:
    """One document a row; its source ends in `#` and the row number counted from 0. A null text reads as empty."""
    try:
        with pq.ParquetFile(path) as table:
            columns = _columns(path, table.schema_arrow)
            row = 0
            for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                for record in batch.to_pylist():
                    text, title = record["text"] or "", record.get("title") or ""
                    yield Document(source=f"{path}#{row}", text=text, title=one_line(title))
                    row += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise SourceError(f"{path} can't be read as Parquet ({reason}): write the file again or remove it.") from error


def _columns(path: Path, schema: pa.Schema) -> list[str]:
    if "text" not in schema.names:
        raise SourceError(f"{path} has no column 'text': rename one of its columns ({', '.join(schema.names)}) to 'text'.")
    columns = [name for name in ("text", "title") if name in schema.names]
    for name in columns:
        kind = schema.field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise SourceError(f"{path}: column {name!r} must hold strings, not {kind}: cast it, or rename another column to {name!r}.")
    return columns
