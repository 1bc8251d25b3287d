"""Dask: worker processes of this machine, or a cluster that is there. Tasks and receipts travel; what is heavy stays in the workers."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from kmem import errors
from kmem.errors import KmemError, MissingDependencyError, WorkersLostError
from kmem.pipelines.config import ExecutorConfig
from kmem.pipelines.executors.local import is_final
from kmem.pipelines.executors.protocol import Advance, Outcome
from kmem.pipelines.ledger import Receipt
from kmem.pipelines.tools import Tools

try:
    import dask
    from distributed import CancelledError, Client, KilledWorker, LocalCluster, as_completed
    from distributed.comm import CommClosedError
except ImportError as error:
    raise MissingDependencyError("Several workers need Dask, which is not installed: pip install 'kmem[cluster]'.") from error

DEATHS = 1
"""Workers that a task may end before it is looked at more closely."""
START_S = 60
"""Seconds in which a scheduler must answer."""
_TOOLS = Tools()
"""Of this worker process."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An error as it travels: exceptions themselves may not survive it."""

    name: str
    message: str
    number: int | None = None
    file: str | None = None
    final: bool = False

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        number, file = (error.errno, error.filename) if isinstance(error, OSError) else (None, None)
        message = str(error) if number is None else os.strerror(number)
        return cls(name=type(error).__name__, message=message, number=number, file=file and str(file), final=is_final(error))

    def error(self) -> Exception:
        """The same error, as far as it is one of ours or of the system's."""
        kind = getattr(errors, self.name, None)
        if isinstance(kind, type) and issubclass(kind, KmemError):
            ours = kind.__new__(kind)
            ours.args = (self.message,)
            return ours
        if self.number is not None:
            return OSError(self.number, self.message, self.file)
        builtin = type(self.name, (RuntimeError,), {})
        raised: Exception = builtin(self.message)
        return raised


class Cluster:
    """A scheduler and its workers: its own, or those at an address."""

    apart = True

    def __init__(self, config: ExecutorConfig, device: str) -> None:
        self.attempts = config.attempts
        self._cluster: Any = None
        address = config.scheduler
        if address is None:
            with dask.config.set({"distributed.scheduler.allowed-failures": DEATHS}):
                self._cluster = _started(config, device)
            address = self._cluster
        try:
            self._client = Client(address, timeout=START_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise WorkersLostError(f"No scheduler answers at {address} ({error}): start one with dask scheduler.") from error

    @property
    def workers(self) -> int:
        return max(1, sum(int(threads) for threads in self._client.nthreads().values()))

    @property
    def announcement(self) -> str:
        """The address of Dask's dashboard, which bokeh draws."""
        if find_spec("bokeh") is None:
            return f"{self.workers} workers at {self._client.scheduler.address}; for Dask's dashboard, install bokeh."
        return f"{self.workers} workers; Dask's dashboard is at {self._client.dashboard_link}."

    def map(self, work: Callable[[Any, Tools], Receipt], tasks: Sequence[Any], advance: Advance) -> Iterator[Outcome]:
        """Raises WorkersLostError when the scheduler goes away."""
        folder = os.getcwd()
        futures = {self._client.submit(run_task, work, task, folder, pure=False): task for task in tasks}
        waiting: Any = as_completed(list(futures), loop=self._client.loop)
        try:
            for future in waiting:
                task = futures.pop(future)
                yield self._outcome(task, future)
                future.release()
        except (CommClosedError, CancelledError) as error:
            raise self._lost() from error
        finally:
            if futures and self._client.status == "running":  # one that has lost its scheduler would wait for it, future by future
                with suppress(Exception):
                    self._client.cancel(list(futures))

    def close(self) -> None:
        with suppress(Exception):
            self._client.close(timeout=5)
        if self._cluster is not None:
            with suppress(Exception):
                self._cluster.close(timeout=10)

    def _outcome(self, task: Any, future: Any) -> Outcome:
        if future.status in ("cancelled", "lost") or self._client.status != "running":
            raise self._lost()
        try:
            result = future.result()
        except KilledWorker as error:
            return Outcome(task=task, error=error)
        except CancelledError as error:
            raise self._lost() from error
        if isinstance(result, Failure):
            return Outcome(task=task, error=result.error(), final=result.final)
        return Outcome(task=task, receipt=result)

    def _lost(self) -> WorkersLostError:
        return WorkersLostError("The scheduler went away; what was finished is kept: repeat the command with --resume.")


def _started(config: ExecutorConfig, device: str) -> Any:
    """Worker processes of this machine; each with a GPU of its own where the model is to run on GPUs and dask-cuda is installed.

    Dask's own limits of memory are off: they count a model as data and would end workers that hold one.
    """
    options = {
        "n_workers": config.workers,
        "threads_per_worker": config.threads_per_worker,
        "dashboard_address": "127.0.0.1:0",
        "memory_limit": None,
        "silence_logs": 50,
    }
    if device.startswith("cuda") and find_spec("dask_cuda") is not None:
        from dask_cuda import LocalCUDACluster

        return LocalCUDACluster(**options)
    return LocalCluster(processes=True, **options)


def run_task(work: Callable[[Any, Tools], Receipt], task: Any, folder: str) -> Receipt | Failure:
    """In a worker: do it in the client's folder, since sources may be named from there."""
    with suppress(OSError):
        os.chdir(folder)
    try:
        return work(task, _TOOLS)
    except Exception as error:
        return Failure.of(error)
