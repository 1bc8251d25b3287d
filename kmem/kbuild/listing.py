"""What a URL names: a file, or the files below a folder or of a glob, where its place can list."""

import glob
from collections import Counter

from kmem.errors import SourceError, SourceNotFoundError
from kmem.kbuild.readers.remote import WEB, remote
from kmem.paths import FIRST_GENERATION, WRITER, ZARR

_OF_A_BANK = (f"/{ZARR}/zarr.json", f"/{ZARR}/{FIRST_GENERATION}/zarr.json", f"/{WRITER}")


def list_url(url: str, counts: Counter[str]) -> tuple[dict[str, int], bool]:
    """The files that the URL means, sorted, with their sizes, and whether it is itself the name of one.

    Of a folder or glob, hidden files and those of banks are left out and counted. Raises SourceNotFoundError where there is nothing,
    SourceError for a bank, PlaceError where the place can't be reached.
    """
    there = remote(url)
    if url.startswith(WEB) or not glob.has_magic(url):
        try:
            return {url: there.size(url)}, True
        except FileNotFoundError:
            found = {} if url.startswith(WEB) else there.below(url)
    else:
        found = there.matching(url)
    if not found:
        raise SourceNotFoundError(f"Source {url!r} leads to no file: check the spelling, or the bucket.")
    return _documents(url, dict(sorted(found.items())), counts), False


def _documents(url: str, found: dict[str, int], counts: Counter[str]) -> dict[str, int]:
    root = url.split("*")[0].rpartition("/")[0]
    shown = {file: size for file, size in found.items() if not any(part.startswith(".") for part in file.removeprefix(root).split("/"))}
    banks = {file.removesuffix(end) for file in found for end in _OF_A_BANK if file.endswith(end)}
    kept = {file: size for file, size in shown.items() if not any(file.startswith(f"{bank}/") for bank in banks)}
    if banks and not kept:
        raise SourceError(f"Source {url!r} is a bank, not documents: name what it was built from (kmem query lists it).")
    for reason, files in (("skipped: hidden file", len(found) - len(shown)), ("skipped: part of a bank", len(shown) - len(kept))):
        if files:
            counts[reason] += files
    return kept
