"""Where kmem keeps what it fetched or converted, and which folders are banks."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from kmem.errors import ConfigError

ZARR = "memories.zarr"
"""The part of a bank that Zarr reads."""
FIRST_GENERATION = "g0000"
"""What a build writes in there; appending and compacting write later ones."""
WRITER = "build/writer.json"
"""What a bank's writer was opened with. Its presence, with no manifest, is what makes a folder an unfinished build."""

EXECUTOR = "build/executor.json"
"""What a build is to do; there from its first moment on, when it has written nothing else yet."""


def cache_dir() -> Path:
    """`$KMEM_CACHE`, or `~/.cache/kmem`; not created here."""
    return Path(os.environ.get("KMEM_CACHE") or "~/.cache/kmem").expanduser()


def make_cache_folder(name: str) -> Path:
    """A folder below `cache_dir()`, made when absent. Raises ConfigError naming $KMEM_CACHE when it can't be."""
    folder = cache_dir() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} can't be made ({error.strerror}): set KMEM_CACHE to a folder that can be written.") from error
    return folder


def converted_once(name: str, convert: Callable[[Path, Path], None]) -> Path:
    """The folder models/`name` of the cache; `convert(room, folder)` makes it when absent, in a room of its own that is deleted afterwards.

    It appears whole or not at all; of processes that convert at once, the first one's stays. Raises what `convert` does.
    """
    folder = cache_dir() / "models" / name
    if folder.exists():
        return folder
    room = Path(tempfile.mkdtemp(dir=make_cache_folder("models")))
    try:
        convert(room, room / name)
        os.rename(room / name, folder)
    except OSError:
        if not folder.exists():  # otherwise another process converted it meanwhile
            raise
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return folder


def is_bank_folder(folder: Path) -> bool:
    """Whether kmem made this folder, as a bank or on the way to one: the texts in it are no documents."""
    return any((folder / file).exists() for file in (ZARR, WRITER, EXECUTOR))
