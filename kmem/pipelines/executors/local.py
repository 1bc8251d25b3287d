"""The default: one task after another in this process, which has all threads, and where every model is loaded once."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from kmem.errors import KmemError
from kmem.pipelines.executors.protocol import Advance, Outcome
from kmem.pipelines.ledger import Receipt
from kmem.pipelines.tools import Tools


class InProcess:
    """`tools` are its own, so that what was loaded is let go with it."""

    workers = 1
    attempts = 1
    apart = False
    announcement = ""

    def __init__(self, tools: Tools | None = None) -> None:
        self.tools = tools or Tools()

    def map(self, work: Callable[[Any, Tools], Receipt], tasks: Sequence[Any], advance: Advance) -> Iterator[Outcome]:
        for task in tasks:
            self.tools.advance = partial(advance, task.index)
            try:
                yield Outcome(task=task, receipt=work(task, self.tools))
            except Exception as error:
                yield Outcome(task=task, error=error, final=is_final(error))

    def close(self) -> None:
        """Nothing runs any more."""


def is_final(error: BaseException) -> bool:
    """Whether an error says something about the build, not about a document: our own, a full disk, and what is no error. Memory may
    be too little for one document alone.
    """
    return isinstance(error, KmemError | OSError) or not isinstance(error, Exception)


def kind_of(error: BaseException) -> str:
    """An error's name to count by: libraries have a MemoryError each."""
    return MemoryError.__name__ if isinstance(error, MemoryError) else type(error).__name__
