"""Read-ahead: what the next span will probably want is brought into RAM while the model decodes."""

import itertools
from collections.abc import Sequence
from threading import Condition, Thread, current_thread
from typing import NamedTuple

import numpy as np

from kmem.errors import MemoryNotEncodedError
from kmem.kstore.bank import Bank
from kmem.kstore.index.queries import Queries
from kmem.runtime.ram import RamTier
from kmem.runtime.stats import Stats

PIECE = 4
"""Records read between two looks at whether anything changed: what a tick may have to wait for."""
LATEST = 16
"""Queries of a tick that are looked at: after a long prompt its end says what comes next."""


class _Job(NamedTuple):
    """After these queries, the last one first; `number` tells whether another job, or an end, came meanwhile."""

    number: int
    latest: Queries
    stats: Stats


class ReadAhead:
    """One thread, started by the first job, asleep between jobs, gone after `close`; a later job starts another.

    Likely is what lies next to the last query beyond the `near` memories that it found: of what the next span reads anew that is more
    than the neighbours of those memories are (docs/decisions.md). Whatever fails here is left to the tick that wants it, which reads it
    itself and raises. The thread computes with numpy, and with FAISS on one thread, never with torch: an OpenMP team of its own would
    spin beside the model's.
    """

    def __init__(self, bank: Bank, tier: RamTier, *, near: int, ahead: int) -> None:
        self._bank, self._tier, self._near = bank, tier, near
        self._ahead = min(ahead, tier.capacity)
        self._state = Condition()
        self._number = 0
        self._job: _Job | None = None
        self._reading: frozenset[int] = frozenset()
        self._thread: Thread | None = None

    def begin(self, queries: Queries, stats: Stats) -> None:
        """Read ahead for the span after these queries; an older job is dropped. Returns at once."""
        if not self._ahead:
            return
        with self._state:
            self._number += 1
            self._job = _Job(self._number, queries.latest(LATEST), stats)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="kmem-ahead", daemon=True)
                self._thread.start()
            self._state.notify_all()

    def stop(self) -> None:
        """Drop the job: a tick is at work now."""
        with self._state:
            self._number += 1
            self._job = None

    def wait_for(self, ids: Sequence[int]) -> None:
        """Return once none of these ids is being read here."""
        with self._state:
            self._state.wait_for(lambda: self._reading.isdisjoint(ids))

    def close(self) -> None:
        """End the thread, after the piece that it is reading."""
        self.stop()
        with self._state:
            thread, self._thread = self._thread, None
            self._state.notify_all()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                likely = self._likely(job.latest)
            except Exception:  # a closed bank, an index that is gone: the next tick meets it
                continue
            for start in range(0, len(likely), PIECE):
                if not self._read(job, likely[start : start + PIECE]):
                    break

    def _next(self) -> _Job | None:
        with self._state:
            self._state.wait_for(lambda: self._job is not None or self._thread is not current_thread())
            if self._thread is not current_thread():
                return None
            job, self._job = self._job, None
            return job

    def _likely(self, latest: Queries) -> list[int]:
        """Ids that are not in RAM, the nearest to any query first, the later query first where ranks are equal."""
        _, ids = self._bank.nearest(latest, self._near + self._ahead)
        ranked = itertools.chain.from_iterable(ids.T.tolist())
        return self._tier.lacking([memory_id for memory_id in dict.fromkeys(ranked) if memory_id >= 0])[: self._ahead]

    def _read(self, job: _Job, piece: list[int]) -> bool:
        """Whether to go on."""
        with self._state:
            if job.number != self._number:
                return False
            self._reading = frozenset(piece)
        try:
            records = np.empty((len(piece), *self._bank.record_shape), dtype=self._bank.record_dtype)
            self._bank.read_into(piece, records)
            self._bank.lengths(piece)  # the tick needs them, too
            self._tier.keep(piece, records, used=False)
            job.stats.ahead_read += len(piece)
        except MemoryNotEncodedError as error:
            others = [memory_id for memory_id in piece if memory_id not in error.ids]
            return not others or self._read(job, others)
        except Exception:  # a damaged record, a store that can't be reached: raised at the tick that wants it
            return True
        finally:
            with self._state:
                self._reading = frozenset()
                self._state.notify_all()
        return True
