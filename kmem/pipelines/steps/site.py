"""How a step on any worker opens the bank that it works for."""

from pathlib import Path

from kmem.kstore.place import Place, place_of
from kmem.pipelines.tools import Tools


def site_of(place: Place) -> str:
    """The URL, or the folder's absolute path: what a worker that was started elsewhere understands."""
    return str(place) if place.folder is None else str(place.folder.absolute())


def opened(site: str, tools: Tools) -> Place:
    """The place of `site_of`, opened once a worker."""

    def open_it() -> Place:
        return place_of(site if "://" in site else Path(site))

    return tools.get(("place", site), open_it)
