"""Shards on their way to the device: while one is flushed, the next is made."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from kmem.kstore.manifest import Shard

COPIES_AT_ONCE = 2
"""Shards that are written side by side where little is to be computed: one waits for the device while the other is made."""


def write_streamed(
    writes: Iterable[Callable[[], Shard]], *, at_once: int, wrote: Callable[[Shard], None] = lambda shard: None
) -> list[Shard]:
    """Call all `writes`, each in a thread and up to `at_once` at a time → their shards, in order; `wrote` is told each, in order, too.

    The next one is taken from `writes`, in the calling thread, while those before it run. With 0 all is done in the calling thread.
    Raises what the first of `writes` to fail in their order raised, or what making the next one raised. Whatever raises, a first
    Ctrl-C included, none is still running then.
    """
    shards: list[Shard] = []

    def done(shard: Shard) -> None:
        shards.append(shard)
        wrote(shard)

    if at_once == 0:
        for write in writes:
            done(write())
        return shards
    running: deque[Future[Shard]] = deque()
    with ThreadPoolExecutor(at_once, thread_name_prefix="kmem-shard") as threads:
        for write in writes:
            if len(running) == at_once:
                done(running.popleft().result())
            running.append(threads.submit(write))
        while running:
            done(running.popleft().result())
    return shards
