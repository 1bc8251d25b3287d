"""How many threads FAISS computes on."""

from collections.abc import Iterator
from contextlib import contextmanager

import faiss


@contextmanager
def threads(count: int) -> Iterator[None]:
    """FAISS computes on `count` threads in calls of this thread; OpenMP keeps the number a thread, so no other one sees it."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def thread_count() -> int:
    """Threads that FAISS computes on in calls of this thread."""
    return int(faiss.omp_get_max_threads())
