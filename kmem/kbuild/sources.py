"""What a user names → documents: files, folders, globs and named corpora, always in the same order."""

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kmem.document import Document
from kmem.errors import SourceError, SourceNotFoundError, WrongTypeError
from kmem.kbuild.corpora import corpora_folder, fetch_corpus
from kmem.kbuild.readers import READERS, known_suffix, read, reader_for
from kmem.kbuild.readers.dictd import SUFFIXES as DICTIONARY
from kmem.kbuild.readers.dictd import dictionary_files
from kmem.paths import is_bank_folder

_CORPUS = "corpus:"


def named(sources: str | Path | Sequence[str | Path]) -> list[str]:
    """A source or several as a list of strings. Raises WrongTypeError for what is none."""
    several = [sources] if isinstance(sources, str | Path) else sources
    if not isinstance(several, Sequence) or not all(isinstance(source, str | Path) for source in several):
        raise WrongTypeError(f"sources must be a path or a list of paths, not {sources!r:.40}.")
    return [str(source) for source in several]


def documents(sources: Sequence[str], counts: Counter[str]) -> Iterator[Document]:
    """Every non-empty document of the sources, in order.

    The sources are looked up at the call, so a wrong one raises before anything is read; the files are read while iterating.
    `counts` receives `documents`, and every drop and skip by reason.
    """
    return _documents(expand(sources, counts), counts)


def _documents(paths: list[Path], counts: Counter[str]) -> Iterator[Document]:
    for path in paths:
        for document in read(path, counts):
            _require_utf8(document.source)
            if document.text.strip():
                counts["documents"] += 1
                yield _portable(document, path)
            else:
                counts["dropped: empty"] += 1


def _portable(document: Document, path: Path) -> Document:
    """A corpus document's source names the corpus, not where this machine caches it: ids must be the same everywhere."""
    if path.parent != corpora_folder():
        return document
    return replace(document, source=f"{_CORPUS}{path.stem}{document.source.removeprefix(str(path))}")


def expand(sources: Sequence[str], counts: Counter[str] | None = None) -> list[Path]:
    """The files behind the sources, each once, at its first place; a dictionary's two files count as one, its index.

    Folders are searched with their subfolders and sorted; what a folder or glob holds beside readable files is counted in `counts`.
    Raises SourceNotFoundError for a source that yields nothing and SourceError for a file that kmem can't read by name.
    """
    counts = Counter() if counts is None else counts
    if not sources:
        raise SourceNotFoundError("No source was given: name a file, a folder, a glob or a corpus such as corpus:vital-articles.")
    found: dict[Path, Path] = {}
    for source in sources:
        for path in _expand(source, counts):
            _require_utf8(str(path))
            if found.setdefault(path.resolve(), path) is not path:
                counts["skipped: listed twice"] += 1
    return list(found.values())


def _require_utf8(name: str) -> None:
    """A source is part of every id and is stored as UTF-8, so a name that is not can't be kept."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"The source {name!r} is not UTF-8: rename it.") from error


def _expand(source: str, counts: Counter[str]) -> list[Path]:
    if source.startswith(_CORPUS):
        return [fetch_corpus(source.removeprefix(_CORPUS))]
    if not source:
        raise SourceNotFoundError("A source is the empty string: name a file, a folder, a glob or a corpus.")
    path = Path(source).expanduser()
    if any(is_bank_folder(folder) for folder in (path, *path.absolute().parents)):
        raise SourceError(f"Source {source!r} is a bank or in one, not documents: name what it was built from (kmem query lists it).")
    if path.is_dir():
        return _readable(source, _walk(path, counts), counts)
    if path.exists():
        return [_named(path)]
    if glob.has_magic(source):
        files = sorted(match for match in map(Path, glob.glob(str(path), recursive=True)) if match.is_file())
        if not files:
            raise SourceNotFoundError(f"Source {source!r} matches no file: check the pattern, or the folder you start kmem from.")
        return _readable(source, _outside_banks(files, counts), counts)
    raise SourceNotFoundError(f"Source {source!r} does not exist: check the spelling, or the folder you start kmem from.")


def _named(path: Path) -> Path:
    reader_for(path)  # raises on an unknown suffix, before anything is read
    return _whole(path) or path  # half a dictionary is left to its reader, which says what is missing


def _readable(source: str, paths: list[Path], counts: Counter[str]) -> list[Path]:
    kept: dict[Path, None] = {}
    for path in paths:
        whole = _whole(path)
        if known_suffix(path) is None:
            counts[f"skipped: unknown suffix {path.suffix.lower() or '(none)'}"] += 1
        elif whole is None:
            counts["skipped: half a dictionary"] += 1
        else:
            kept[whole] = None
    if not kept:
        wanted = ", ".join(READERS)
        others = f" ({len(paths)} others)" if paths else ""
        raise SourceNotFoundError(f"Source {source!r} holds no file that kmem reads{others}: it looks for {wanted}.")
    return list(kept)


def _whole(path: Path) -> Path | None:
    if known_suffix(path) not in DICTIONARY:
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
        paths += there
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
