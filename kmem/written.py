"""A text file that is there whole or not at all, whatever stops its writer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def whole_text(path: Path) -> Iterator[TextIO]:
    """A file to write UTF-8 into, which takes the place of `path` when the block is left without an error; until then what is there stays.

    It grows beside `path` under a hidden name, with the rights that any new file gets. What is no ordinary file, as `/dev/stdout`, is
    written directly. Raises OSError where nothing can be written.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        with target.open("w", encoding="utf-8") as file:
            yield file
        return
    growing = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with growing.open("w", encoding="utf-8") as file:
            yield file
        os.replace(growing, target)
    finally:
        growing.unlink(missing_ok=True)
