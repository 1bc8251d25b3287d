"""How FAISS is told, for one search, how far to look and which ids to pass over. The index itself never changes."""

from collections.abc import Mapping, Sequence
from typing import Any

import faiss
import numpy as np


def search_parameters(kind: str, settings: Mapping[str, int], exclude: Sequence[int] = ()) -> Any:
    """FAISS parameters for an index of this kind, with the `settings` of its Factory (`nprobe`, `efSearch`)."""
    selector = selector_without(exclude)
    # FAISS adds the keyword constructors in Python; its type stubs don't know them.
    if kind == "flat":
        return None if selector is None else faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
    if kind == "hnsw":
        return faiss.SearchParametersHNSW(sel=selector, efSearch=settings["efSearch"])  # type: ignore[attr-defined]
    if kind == "ivfpq":
        return faiss.IVFPQSearchParameters(sel=selector, nprobe=settings["nprobe"])  # type: ignore[attr-defined]
    return faiss.SearchParametersIVF(sel=selector, nprobe=settings["nprobe"])  # type: ignore[call-arg]


def selector_without(exclude: Sequence[int]) -> Any:
    """All ids but these; None where there are none."""
    return faiss.IDSelectorNot(faiss.IDSelectorBatch(np.asarray(exclude, dtype=np.int64))) if len(exclude) else None
