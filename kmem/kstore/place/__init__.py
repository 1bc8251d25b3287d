"""Where a bank lies: a folder of this machine, or a prefix in an object store. One file a kind."""

from pathlib import Path

from kmem.kstore.place.local import LocalPlace
from kmem.kstore.place.protocol import Place, Span


def place_of(path: str | Path) -> Place:
    """The place that a path or URL (`s3://bucket/prefix`, `gs://…`, `az://…`) names; nothing is asked of it yet.

    Raises ConfigError for a URL that no object store understands, MissingDependencyError where obstore is not installed.
    """
    if "://" in str(path):
        from kmem.kstore.place.remote import RemotePlace

        return RemotePlace(str(path))
    return LocalPlace(Path(path))


__all__ = ["LocalPlace", "Place", "Span", "place_of"]
