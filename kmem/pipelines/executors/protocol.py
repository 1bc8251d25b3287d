"""What a stage asks of whatever runs its steps. Tasks and receipts are small: indices and counts travel, never texts or tensors."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kmem.pipelines.ledger import Receipt
from kmem.pipelines.tools import Tools


class Task(Protocol):
    """One unit of a stage. `aside`: what in it is left out, by its number within the task, and why."""

    @property
    def index(self) -> int: ...

    @property
    def aside(self) -> tuple[tuple[int, str], ...]: ...


class Step(Protocol):
    """What a stage does to a task; a small frozen dataclass, since it travels to every worker.

    A step writes its files into the bank's `build/` and finds by its receipt that it had been done.
    """

    @property
    def stage(self) -> str: ...

    def __call__(self, task: Any, tools: Tools) -> Receipt: ...

    def units(self, task: Any, tools: Tools) -> Iterator[Any]:
        """The documents or chunks of a task one by one, as when one of them is looked for that makes the step fail."""
        ...

    def alone(self, unit: Any, task: Any, tools: Tools) -> None:
        """What the step does to one unit; nothing is kept of it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a task: a receipt, or the error, which is `final` when no other attempt would end otherwise. died: its workers did."""

    task: Any
    receipt: Receipt | None = None
    error: BaseException | None = None
    final: bool = False
    died: bool = False


Advance = Callable[[int, int], None]
"""(index of a task, how many more of its units are done)"""


class Executor(Protocol):
    """Runs one stage at a time."""

    @property
    def workers(self) -> int:
        """Tasks that run at once."""
        ...

    @property
    def attempts(self) -> int:
        """How often a task is tried before what makes it fail is looked for."""
        ...

    @property
    def apart(self) -> bool:
        """Whether tasks run in other processes, which may die."""
        ...

    @property
    def announcement(self) -> str:
        """Where the work can be watched, in a sentence for a person; empty for nowhere."""
        ...

    def map(self, work: Callable[[Any, Tools], Receipt], tasks: Sequence[Any], advance: Advance) -> Iterator[Outcome]:
        """The outcome of every task, in the order they come; closing the iterator gives up what has not begun."""
        ...

    def close(self) -> None: ...
