"""A copy of the index on GPUs, where the installed FAISS has them: `faiss-gpu` takes the place of `faiss-cpu`. It is never stored."""

from collections.abc import Mapping
from threading import Lock
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

MOST = 2048
"""Neighbours and lists that FAISS's GPU kernels take at most."""


class GpuIndex:
    """Answers a plain search with the settings that were tuned; whatever else is asked, the processor's index answers."""

    most = MOST

    def __init__(self, copy: Any) -> None:
        self._copy, self._one = copy, Lock()

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and ids [Q, k]. FAISS's GPU indexes serve one thread at a time."""
        with self._one:
            scores, ids = self._copy.search(queries, k)
        return scores, ids


def on_gpus(searched: Any, kind: str, settings: Mapping[str, int]) -> GpuIndex | None:
    """None where this FAISS (`faiss-cpu`) or this machine has no GPU, or none of its GPU indexes is of the kind."""
    if kind == "hnsw" or "k_factor" in settings or settings.get("nprobe", 0) > MOST or faiss.get_num_gpus() == 0:
        return None
    try:
        copy = faiss.index_cpu_to_all_gpus(searched)
        if "nprobe" in settings:
            faiss.GpuParameterSpace().set_index_parameter(copy, "nprobe", settings["nprobe"])
    except RuntimeError:  # codes of a size, or more vectors, than GPUs take
        return None
    return GpuIndex(copy)
