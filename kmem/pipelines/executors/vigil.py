"""Workers that went away and don't come back: whoever waits for them is told, instead of waiting for ever."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

EVERY_S = 5.0
"""Seconds between two looks."""
GONE_S = 600.0
"""Seconds without a single worker after which none is waited for; one that is started anew takes a minute on a busy machine."""


@contextmanager
def vigil(workers: Callable[[], int], deserted: Callable[[], None]) -> Iterator[None]:
    """While the block runs: call `deserted` once there has been no worker for GONE_S. workers: how many there are."""
    over = Event()

    def watch() -> None:
        last = time.monotonic()
        while not over.wait(min(EVERY_S, GONE_S)):
            with suppress(Exception):  # a scheduler that can't be asked is noticed by whoever waits for it
                if workers():
                    last = time.monotonic()
                elif time.monotonic() - last >= GONE_S:
                    deserted()
                    return

    watching = Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join(EVERY_S)
