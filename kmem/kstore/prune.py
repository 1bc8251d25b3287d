"""Deleting what no state of a bank needs any more: older manifests that nobody reads, and files that no manifest lists."""

from kmem.kstore.commit import MANIFESTS, manifest_file, manifest_numbers, read_manifest
from kmem.kstore.place import Place
from kmem.paths import ZARR

OURS = (f"{MANIFESTS}/", f"{ZARR}/", "chunks/", "index/")
"""What else lies in the folder is somebody's, or the build's."""


def superseded(place: Place, *, held_too: bool = False) -> list[str]:
    """Files that can go: those of states before the newest that nobody holds (with `held_too`, of all), and of writers that died.

    Older manifests come first, so that none is ever left without its files.
    """
    *older, newest = manifest_numbers(place)
    kept = {newest, *(number for number in older if not held_too and place.is_held(manifest_file(number)))}
    needed = {manifest_file(number) for number in kept}
    for number in kept:
        manifest = read_manifest(place, number)
        if manifest is not None:
            needed |= {file.file for file in manifest.files}
    gone = [file for file in place.sizes() if file not in needed and file.startswith(OURS)]
    return sorted(gone, key=lambda file: (not file.startswith(f"{MANIFESTS}/"), file))


def prune(place: Place, *, held_too: bool = False) -> tuple[int, int]:
    """Delete what `superseded` lists → how many files, how many bytes. Call it only when no writer is at work."""
    sizes = place.sizes()
    gone = superseded(place, held_too=held_too)
    place.remove(gone)
    place.tidy()
    return len(gone), sum(sizes.get(file, 0) for file in gone)
