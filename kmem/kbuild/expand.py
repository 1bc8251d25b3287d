"""What a user names → files: files, folders, globs, URLs and named corpora, always in the same order."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from kmem.errors import SourceError, SourceNotFoundError
from kmem.kbuild.corpora import fetch_corpus
from kmem.kbuild.listing import list_url
from kmem.kbuild.readers import FORMATS, format_of, known_suffix
from kmem.kbuild.readers.dictd import SUFFIXES as DICTIONARY
from kmem.kbuild.readers.dictd import dictionary_files
from kmem.kbuild.readers.files import file_name, is_url, size_of
from kmem.paths import is_bank_folder

CORPUS = "corpus:"


@dataclass(frozen=True, slots=True)
class File:
    """A path or URL to read, whether the user named this very file rather than what holds it, and its bytes (-1: unknown)."""

    path: str
    named: bool
    size: int


def expand(sources: Sequence[str], counts: Counter[str] | None = None) -> list[File]:
    """The files behind the sources, each once, at its first place; a dictionary's two files count as one, its index.

    Folders are searched with their subfolders and sorted; what a folder or glob holds beside readable files is counted in `counts`.
    Raises SourceNotFoundError for a source that yields nothing, SourceError for a file that kmem can't read by name, and for URLs
    MissingDependencyError, ConfigError and PlaceError.
    """
    counts = Counter() if counts is None else counts
    if not sources:
        raise SourceNotFoundError("No source was given: name a file, a folder, a glob or a corpus such as corpus:vital-articles.")
    found: dict[str, File] = {}
    for source in sources:
        for file in _expand(source, counts):
            key = file.path if is_url(file.path) else os.path.realpath(file.path)
            if found.setdefault(key, file) is not file:
                counts["skipped: listed twice"] += 1
    return list(found.values())


def _require_utf8(name: str) -> None:
    """A source is part of every id and is stored as UTF-8, so a name that is not can't be kept."""
    if not _is_utf8(name):
        raise SourceError(f"The source {name!r} is not UTF-8: rename it.")


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _expand(source: str, counts: Counter[str]) -> list[File]:
    if source.startswith(CORPUS):
        path = str(fetch_corpus(source.removeprefix(CORPUS)))
        return [File(path, named=False, size=size_of(path))]
    if not source:
        raise SourceNotFoundError("A source is the empty string: name a file, a folder, a glob or a corpus.")
    source = _local(source)
    _require_utf8(source)
    if is_url(source):
        sizes, is_file = list_url(source, counts)
    else:
        sizes, is_file = _listed(source, counts)
    if is_file:
        return [_named(*next(iter(sizes.items())))]
    return _readable(source, sizes, counts)


def _local(source: str) -> str:
    """`file:///a/b` is /a/b, whose documents have the same ids."""
    return unquote(urlsplit(source).path) if source.startswith("file://") else source


def _listed(source: str, counts: Counter[str]) -> tuple[dict[str, int], bool]:
    """The files of a path of this machine with their sizes, in order, and whether it is itself a file."""
    path = Path(source).expanduser()
    if any(is_bank_folder(folder) for folder in (path, *path.absolute().parents)):
        raise SourceError(f"Source {source!r} is a bank or in one, not documents: name what it was built from (kmem query lists it).")
    if path.is_dir():
        return _sizes(_walk(path, counts)), False
    if path.is_file():
        return _sizes([path]), True
    if path.exists():
        raise SourceError(f"Source {source!r} is a pipe, a socket or a device, not a file: write what comes out of it to a file.")
    if glob.has_magic(source):
        files = sorted(match for match in map(Path, glob.glob(str(path), recursive=True)) if match.is_file())
        if not files:
            raise SourceNotFoundError(f"Source {source!r} matches no file: check the pattern, or the folder you start kmem from.")
        return _sizes(_outside_banks(files, counts)), False
    raise SourceNotFoundError(f"Source {source!r} does not exist: check the spelling, or the folder you start kmem from.")


def _sizes(paths: list[Path]) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in paths}


def _named(path: str, size: int) -> File:
    format_of(path)  # raises on an unknown suffix, before anything is read
    return File(_whole(path) or path, named=True, size=size)  # half a dictionary is left to its reader, which says what is missing


def _readable(source: str, sizes: dict[str, int], counts: Counter[str]) -> list[File]:
    kept: dict[str, File] = {}
    for path, size in sizes.items():
        whole = _whole(path)
        if not _is_utf8(path):
            counts["skipped: name that is not UTF-8"] += 1
        elif known_suffix(path) is None:
            counts[f"skipped: unknown suffix {_suffix(path)}"] += 1
        elif whole is None:
            counts["skipped: half a dictionary"] += 1
        else:
            kept[whole] = File(whole, named=False, size=size)
    if not kept:
        wanted = ", ".join(FORMATS)
        others = f" ({len(sizes)} others)" if sizes else ""
        raise SourceNotFoundError(f"Source {source!r} holds no file that kmem reads{others}: it looks for {wanted}, plain, .gz or .zst.")
    return list(kept.values())


def _suffix(path: str) -> str:
    return PurePosixPath(file_name(path)).suffix.lower() or "(none)"


def _whole(path: str) -> str | None:
    if not file_name(path).lower().endswith(DICTIONARY):
        return path
    files = dictionary_files(path)
    return files[0] if files else None


def _walk(folder: Path, counts: Counter[str]) -> list[Path]:
    paths: list[Path] = []
    for parent, folders, names in os.walk(folder):
        shown = _shown(folders, "hidden folder", counts)
        own = [name for name in shown if not Path(parent, name).is_symlink()]
        folders[:] = [name for name in own if not is_bank_folder(Path(parent, name))]
        _count(counts, "skipped: linked folder", len(shown) - len(own))
        _count(counts, "skipped: a bank", len(own) - len(folders))
        files = [Path(parent, name) for name in _shown(names, "hidden file", counts)]
        there = [file for file in files if file.exists()]
        _count(counts, "skipped: link that leads nowhere", len(files) - len(there))
        plain = [file for file in there if file.is_file()]  # whoever opens a pipe waits until something is written into it
        _count(counts, "skipped: pipe, socket or device", len(there) - len(plain))
        paths += plain
    return sorted(paths)


def _outside_banks(files: list[Path], counts: Counter[str]) -> list[Path]:
    banks = {folder for folder in {parent for file in files for parent in file.parents} if is_bank_folder(folder)}
    kept = [file for file in files if banks.isdisjoint(file.parents)]
    _count(counts, "skipped: part of a bank", len(files) - len(kept))
    return kept


def _shown(names: list[str], kind: str, counts: Counter[str]) -> list[str]:
    shown = [name for name in names if not name.startswith(".")]
    _count(counts, f"skipped: {kind}", len(names) - len(shown))
    return shown


def _count(counts: Counter[str], reason: str, files: int) -> None:
    """Only what happened is listed."""
    if files:
        counts[reason] += files
