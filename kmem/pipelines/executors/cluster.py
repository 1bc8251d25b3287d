"""Dask: worker processes of this machine, or a cluster that is there. Tasks and receipts travel; what is heavy stays in the workers."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from multiprocessing import resource_tracker
from typing import Any

from kmem import __version__, errors
from kmem.errors import ConfigError, KmemError, MissingDependencyError, WorkersLostError
from kmem.pipelines.config import ExecutorConfig
from kmem.pipelines.executors.local import is_final, kind_of
from kmem.pipelines.executors.protocol import Advance, Outcome
from kmem.pipelines.ledger import Receipt
from kmem.pipelines.tools import Tools

try:
    import dask
    from distributed import CancelledError, Client, KilledWorker, as_completed
    from distributed.comm import CommClosedError
    from distributed.utils import LoopRunner

    from kmem.pipelines.executors.gpus import local_cluster
except ImportError as error:
    raise MissingDependencyError("Several workers need Dask, which is not installed: pip install 'kmem[cluster]'.") from error

DEATHS = 1
"""Workers that a task may end before it is looked at more closely."""
_SETTINGS = {"distributed.scheduler.allowed-failures": DEATHS, "distributed.deploy.lost-worker-timeout": "10 minutes"}
"""A worker that has died is given up unless it is back by then; Dask's 15 seconds are less than loading torch takes on a busy machine."""
ANSWER_S = 5
"""Seconds in which a scheduler must answer."""
START_S = 60
"""Seconds in which it must have a worker."""
AT_ONCE, AHEAD = 256, 4
"""Tasks that the scheduler is given at a time, at least, and for each worker: it holds no more than these, however many there are."""
QUIET_TRACKER = "ignore::UserWarning:multiprocessing.resource_tracker"
"""Python's process that removes the semaphores of one which was stopped says so on the terminal."""
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
        return cls(name=kind_of(error), message=message, number=number, file=file and str(file), final=is_final(error))

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
        with ExitStack() as closing:  # whatever fails leaves nothing behind
            if config.scheduler is None:
                closing.enter_context(dask.config.set(_SETTINGS))  # the cluster looks at some of them whenever a worker has died
                cluster = _started(config, device, closing.enter_context(_undisturbed_loop()))
                closing.callback(_closed, cluster, timeout=10)
                self._client = Client(cluster, timeout=START_S, set_as_default=False)
            else:
                self._client = _connected(config.scheduler)
            closing.callback(_closed, self._client, timeout=5)
            try:
                self._client.wait_for_workers(1, timeout=START_S)
            except TimeoutError as error:
                address = self._client.scheduler.address
                raise WorkersLostError(f"The scheduler at {address} has no workers: start some with dask worker {address}.") from error
            if config.scheduler is not None:
                self._require_kmem()
            self._closing = closing.pop_all()

    @property
    def workers(self) -> int:
        return max(1, sum(int(threads) for threads in self._client.nthreads().values()))

    @property
    def announcement(self) -> str:
        """The address of Dask's dashboard, which bokeh draws."""
        workers = f"{self.workers} worker{'' if self.workers == 1 else 's'}"
        if find_spec("bokeh") is None:
            return f"{workers} at {self._client.scheduler.address}; for Dask's dashboard, install bokeh."
        return f"{workers}; Dask's dashboard is at {self._client.dashboard_link}."

    def map(self, work: Callable[[Any, Tools], Receipt], tasks: Sequence[Any], advance: Advance) -> Iterator[Outcome]:
        """Raises WorkersLostError when the scheduler goes away."""
        folder, coming, futures = os.getcwd(), iter(tasks), dict[Any, Any]()

        def submitted(count: int) -> list[Any]:
            new = {self._client.submit(run_task, work, task, folder, __version__, pure=False): task for task in islice(coming, count)}
            futures.update(new)
            return list(new)

        waiting: Any = as_completed(submitted(max(AT_ONCE, AHEAD * self.workers)), loop=self._client.loop)
        try:
            for future in waiting:
                task = futures.pop(future)
                waiting.update(submitted(1))
                yield self._outcome(task, future)
                future.release()
        except (CommClosedError, CancelledError) as error:
            raise self._lost() from error
        finally:
            if futures and self._client.status == "running":  # one that has lost its scheduler would wait for it, future by future
                with suppress(Exception):
                    self._client.cancel(list(futures))

    def close(self) -> None:
        self._closing.close()

    def _require_kmem(self) -> None:
        """A worker that can't import it would end as soon as it was sent a task, and the task would wait for another one for ever."""
        for worker, found in self._client.run(import_module, "kmem", on_error="return").items():
            if isinstance(found, BaseException):
                raise WorkersLostError(
                    f"The worker at {worker} can't import kmem ({found}): install kmem {__version__} there, as it is here."
                )

    def _outcome(self, task: Any, future: Any) -> Outcome:
        if (
            future.status == "cancelled" or self._client.status != "running"
        ):  # what died with its worker is done again: `lost` is waited for
            raise self._lost()
        try:
            result = future.result()
        except KilledWorker as error:
            return Outcome(task=task, error=error, died=True)
        except CancelledError as error:
            raise self._lost() from error
        except CommClosedError:
            raise
        except Exception as error:  # whatever a task raises comes as a Failure: this one could not even be begun
            said = f"{type(error).__name__}: {error}"[:200]
            raise WorkersLostError(f"The workers can't run kmem ({said}): install kmem {__version__} there, as it is here.") from error
        if isinstance(result, Failure):
            return Outcome(task=task, error=result.error(), final=result.final)
        return Outcome(task=task, receipt=result)

    def _lost(self) -> WorkersLostError:
        return WorkersLostError("The scheduler went away; what was finished is kept: repeat the command with --resume.")


def _closed(opened: Any, *, timeout: float) -> None:
    """Close a client or a cluster; one that can't be is gone already."""
    with suppress(Exception):
        opened.close(timeout=timeout)


def _connected(address: str) -> Any:
    """A client of the scheduler there. Raises WorkersLostError."""
    try:
        return Client(address, timeout=ANSWER_S, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = _reason(error) if isinstance(error, ValueError) else f"not within {ANSWER_S} seconds"
        raise WorkersLostError(
            f"No scheduler answers at --scheduler {address} ({reason}): start one with dask scheduler, which prints its address."
        ) from error


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """What this thread starts has this variable."""
    before = os.environ.get(name)
    os.environ[name] = value if before is None else f"{before},{value}"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _undisturbed_loop() -> Iterator[Any]:
    """Dask's loop in a thread that blocks SIGINT, as all processes do that it starts.

    A terminal sends Ctrl-C to every process of a command; workers would die of it with tracebacks, before this one can close them.
    """
    with _environment("PYTHONWARNINGS", QUIET_TRACKER):
        resource_tracker.ensure_running()  # else the loop's thread starts it, which unblocks SIGINT there
    runner = LoopRunner()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        runner.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield runner.loop
    finally:
        runner.stop()


def _started(config: ExecutorConfig, device: str, loop: Any) -> Any:
    """Worker processes of this machine.

    Dask's own limits of memory are off: they count a model as data and would end workers that hold one. Raises WorkersLostError, and
    what `local_cluster` does.
    """
    assert config.workers is not None
    start = local_cluster(config.workers, device)
    try:
        return start(
            loop=loop,
            n_workers=config.workers,
            threads_per_worker=config.threads_per_worker,
            dashboard_address="127.0.0.1:0",
            memory_limit=None,
            silence_logs=50,
        )
    except Exception as error:  # Dask raises whatever a worker did
        while error.__cause__ is not None and isinstance(error.__cause__, Exception):
            error = error.__cause__
        raise WorkersLostError(
            f"The worker processes of --workers {config.workers} could not be started ({_reason(error)}): look for free memory, and for "
            "room where temporary files go, or leave --workers out; a script calls kmem.build under if __name__ == '__main__'."
        ) from error


def _reason(error: Exception) -> str:
    """What was said, in a line."""
    return (" ".join(str(error).split()).rstrip(".") or type(error).__name__)[:200]


def run_task(work: Callable[[Any, Tools], Receipt], task: Any, folder: str, version: str) -> Receipt | Failure:
    """In a worker: do it in the client's folder, since sources may be named from there. Another kmem than the client's does nothing."""
    if version != __version__:
        said = f"A worker has kmem {__version__}, this process {version}: install the same one everywhere."
        return Failure(name=ConfigError.__name__, message=said, final=True)
    with suppress(OSError):
        os.chdir(folder)
    try:
        return work(task, _TOOLS)
    except Exception as error:
        return Failure.of(error)
