"""Functions on numpy arrays as machine code: what numba compiles is kept beside its source, or in NUMBA_CACHE_DIR."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled once and kept on disk, or, where neither the source's folder nor the user's cache can be written, once a process.

    A disk that fills up, or a folder that goes away later, costs the keeping and nothing else.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp"}}
    try:
        ready: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no locator: nowhere to write
        ready = numba.njit(**options)(function)
    kept = getattr(ready, "_cache", None)  # nothing public lets numba pass over an OSError, except on Windows, where it does so here
    if kept is not None:
        kept._guard_against_spurious_io_errors = partial(suppress, OSError)
    return ready
