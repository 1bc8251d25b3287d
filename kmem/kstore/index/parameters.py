"""How FAISS is told, for one search, how many lists to visit and which ids to pass over. The index itself never changes."""

from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np


def search_parameters(kind: str, nprobe: int, exclude: Sequence[int] = ()) -> Any:
    """FAISS parameters for an index of this kind (`flat` or `ivf`); `nprobe` matters to `ivf` only."""
    selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(np.asarray(exclude, dtype=np.int64))) if len(exclude) else None
    # FAISS adds the keyword constructors in Python; its type stubs don't know them.
    if kind == "flat":
        return faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
    return faiss.SearchParametersIVF(sel=selector, nprobe=nprobe)  # type: ignore[call-arg]
