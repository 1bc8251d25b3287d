"""Scorers by name: those shipped as package data, or the folder that `kmem quality train` wrote."""

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

from kmem.arguments import require_name
from kmem.errors import UnknownNameError
from kmem.kbuild.quality.features import TextEmbedder
from kmem.kbuild.quality.scorer import DESCRIPTION, Scorer, open_scorer

GENERAL = "general"
"""The shipped scorer that commands use unless told otherwise: English and Chinese, no embedder."""


def shipped_scorers() -> list[str]:
    """Names of the scorers that are package data."""
    return sorted(entry.name for entry in files("kmem.kbuild.quality.scorers").iterdir() if (entry / DESCRIPTION).is_file())


def require_scorer(name_or_path: str) -> None:
    """Raise UnknownNameError for what is neither a shipped scorer nor a folder, without reading either."""
    require_name(name_or_path, "scorer")
    if name_or_path not in shipped_scorers() and not Path(name_or_path).is_dir():
        raise UnknownNameError("scorer", name_or_path, [*shipped_scorers(), "or a folder that kmem quality train wrote"])


def load_scorer(name_or_path: str, embedder: Callable[[str], TextEmbedder] | None = None) -> Scorer:
    """A shipped scorer or that of a folder; raises UnknownNameError where it is neither, and what `open_scorer` does."""
    require_scorer(name_or_path)
    if name_or_path in shipped_scorers():
        with as_file(files("kmem.kbuild.quality.scorers") / name_or_path) as folder:
            return open_scorer(folder, embedder)
    return open_scorer(Path(name_or_path), embedder)
