"""What stays of a build beside the bank: its options and versions, statistics, what was rejected, and a picture."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from kmem.kstore.claim import BUILD
from kmem.kstore.place import Place
from kmem.pipelines.picture import PICTURE, draw_build
from kmem.pipelines.steps.cut import Cut
from kmem.profile import SPAN_TOKENS

CONFIG = f"{BUILD}/config.yaml"
REJECTS = f"{BUILD}/rejected.jsonl"
"""A JSON object a line: source, reason, how it begins."""
_ENDING = ".rejected.jsonl"
_PACKAGES = ("kmem", "torch", "transformers", "tokenizers", "faiss-cpu", "sentence-transformers", "numpy", "pyarrow", "zarr", "dask")


def versions() -> dict[str, str]:
    """Of what decides a bank's bytes."""
    found: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def gather_rejects(place: Place) -> None:
    """One file of what all partitions set aside, in their order; none where nothing was."""
    files = sorted(file for file in place.sizes(BUILD) if file.endswith(_ENDING))
    if files:
        place.replace_stream(REJECTS, (place.read(file) for file in files))


def lengths(cut: Cut) -> list[int]:
    """How many chunks have 0, 1, 2 … tokens."""
    return [int(count) for count in cut.lengths]


def draw(place: Place, stages: Mapping[str, Mapping[str, Any]], cut: Cut) -> None:
    """The picture."""
    place.replace(PICTURE, draw_build(stages, lengths(cut), SPAN_TOKENS))
