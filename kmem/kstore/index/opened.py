"""An index in memory: what FAISS holds, the vectors beside it, and a copy on GPUs where there are some."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from kmem.kstore.index.exact import ExactVectors
from kmem.kstore.index.gpu import GpuIndex
from kmem.kstore.index.parameters import search_parameters, selector_without

Found = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Scores and ids [Q, k], best first; id −1 where nothing was found."""


class Index:
    """`searched` is FAISS's index of a kind; `exact` gives its vectors where it holds codes of them. Safe to search from threads."""

    def __init__(self, kind: str, searched: Any, exact: Callable[[], ExactVectors] | None = None, gpu: GpuIndex | None = None) -> None:
        self.kind, self.searched, self.gpu, self._exact = kind, searched, gpu, exact

    @property
    def ntotal(self) -> int:
        """Vectors in it."""
        return int(self.searched.ntotal)

    @cached_property
    def exact(self) -> ExactVectors | None:
        """The vectors by id; None where `searched` holds them itself."""
        return None if self._exact is None else self._exact()

    def once(self, queries: NDArray[np.float32], k: int, settings: Mapping[str, int], exclude: Sequence[int] = ()) -> Found:
        """One search of queries [Q, dim] with these settings; it may find fewer than k where there are more."""
        factor = settings.get("k_factor", 1)
        scores, ids = self.searched.search(queries, min(k * factor, self.ntotal), params=search_parameters(self.kind, settings, exclude))
        return (scores, ids) if "k_factor" not in settings else self._ranked_again(queries, ids, k)

    def further(self, settings: Mapping[str, int]) -> dict[str, int] | None:
        """Settings that look twice as far; None where these look everywhere they can."""
        for name, most in (("nprobe", getattr(self.searched, "nlist", 0)), ("efSearch", self.ntotal)):
            if settings.get(name, most) < most:
                return {**settings, name: min(2 * settings[name], most)}
        return None

    def everywhere(self, queries: NDArray[np.float32], k: int, exclude: Sequence[int]) -> Found:
        """Every vector of a graph compared: a node that no link leads to is found by nothing else."""
        rows = faiss.downcast_index(self.searched.index).storage  # type: ignore[attr-defined]
        selector = selector_without(exclude)
        by_row = None if selector is None else faiss.IDSelectorTranslated(self.searched, selector)
        scores, at = rows.search(queries, k, params=faiss.SearchParameters(sel=by_row))  # type: ignore[call-arg]
        ids = faiss.vector_to_array(self.searched.id_map)
        return scores, np.where(at >= 0, ids[at], -1)

    def _ranked_again(self, queries: NDArray[np.float32], ids: NDArray[np.int64], k: int) -> Found:
        """The k best of what codes found, by whole vectors."""
        assert self.exact is not None
        there = ids >= 0
        vectors = np.zeros((*ids.shape, queries.shape[1]), dtype=np.float32)
        vectors[there] = self.exact.of(ids[there])
        scores = np.where(there, np.einsum("qd,qkd->qk", queries, vectors), -np.inf).astype(np.float32)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(scores, best, axis=1), np.take_along_axis(ids, best, axis=1)
        short = k - found[0].shape[1]
        if short <= 0:
            return found
        return np.pad(found[0], ((0, 0), (0, short)), constant_values=-np.inf), np.pad(found[1], ((0, 0), (0, short)), constant_values=-1)
