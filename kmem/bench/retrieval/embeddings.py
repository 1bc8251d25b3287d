"""Embeddings of passages, kept in the user's cache: they are most of what this benchmark takes."""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kmem.kstore.index.retriever import LEXICAL, Retriever
from kmem.paths import make_cache_folder

BLOCK = 1024
"""Passages a file: what a stopped run has embedded is kept."""


def cached_embeddings(retriever: Retriever, texts: Sequence[str], progress: Callable[[int], None]) -> NDArray[np.float32]:
    """[n, dim] as `retriever.embed`, a block at a time from `$KMEM_CACHE/bench/embeddings` or into it.

    A block is known by its texts and by what makes the vectors: names, and words indexed beside them, don't count. `progress` is told how
    many more texts are done. Raises what `retriever.embed` and `make_cache_folder` do.
    """
    of = {key: value for key, value in retriever.identity().items() if key not in ("name", LEXICAL)}
    if not of:  # words alone
        return retriever.embed(texts, progress)
    folder = make_cache_folder("bench/embeddings")
    found = []
    for start in range(0, len(texts), BLOCK):
        block = list(texts[start : start + BLOCK])
        file = folder / f"{sha256(json.dumps([of, *block], sort_keys=True).encode()).hexdigest()[:32]}.npy"
        if not file.exists():
            _write(file, retriever.embed(block))
        found.append(np.load(file, allow_pickle=False))
        progress(len(block))
    return np.concatenate(found)


def _write(file: Path, vectors: NDArray[np.float32]) -> None:
    """The file appears whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
        np.save(part, vectors, allow_pickle=False)
    os.replace(part.name, file)
