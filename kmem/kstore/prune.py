"""Deleting what no state of a bank needs any more: older manifests that nobody reads, and files that no manifest lists."""

import re
from collections.abc import Callable

from kmem.kstore.commit import MANIFESTS, manifest_file, manifest_numbers, read_manifest
from kmem.kstore.on_demand import on_demand_files
from kmem.kstore.place import Place
from kmem.paths import ZARR

OURS = re.compile(rf"({MANIFESTS}|{ZARR}|chunks|index|build/g\d+-\w+)/")
"""What else lies in the folder is somebody's, or the build's; `build/g…` are receipts of stopped appends."""


def prune(place: Place, require_held: Callable[[], None], *, held_too: bool = False) -> tuple[int, int, int]:
    """Delete the states before the newest that nobody holds (with `held_too`, all of them), then `sweep` → files, bytes, states kept.

    Call it only when no writer is at work: in an object store, where nobody can tell, nothing is deleted without `held_too`. Manifests
    go first, so that none is ever left without its files. Raises CorruptBankError, before anything is deleted, when the newest can't be
    read, BankExistsError where `require_held`, which `locked` gave, does.
    """
    *older, newest = manifest_numbers(place)
    read_manifest(place, newest)
    sizes = place.sizes(MANIFESTS)
    require_held()
    files = size = kept = 0
    for file in map(manifest_file, older):
        if held_too:
            place.remove([file])
        elif not place.remove_unless_held(file):
            kept += 1
            continue
        files, size = files + 1, size + sizes[file]
    swept = (0, 0) if place.folder is None and not held_too else sweep(place, require_held)  # without locks, a writer may be at work
    return files + swept[0], size + swept[1], kept


def sweep(place: Place, require_held: Callable[[], None]) -> tuple[int, int]:
    """Delete what writers that died or failed left → files, bytes. Call it only when no writer is at work. require_held: as in `prune`.

    That is what no manifest lists, but for the records that a generation of one got on demand.
    """
    sizes = place.sizes()
    needed = {manifest_file(number) for number in manifest_numbers(place)}
    added: tuple[str, ...] = ()
    for number in manifest_numbers(place):
        manifest = read_manifest(place, number)
        needed |= {file.file for file in manifest.files}
        added += tuple(beginning for generation in manifest.on_demand for beginning in on_demand_files(generation.name))
    gone = [file for file in sizes if file not in needed and not file.startswith(added) and OURS.match(file)]
    require_held()
    place.remove(gone)
    place.tidy()
    return len(gone), sum(sizes[file] for file in gone)
