"""Running a stage: every task to its receipt, through failures; a document that makes its step fail is found and set aside."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from kmem.errors import BuildError
from kmem.kstore.claim import BUILD
from kmem.kstore.place import Place
from kmem.pipelines.executors.local import is_final, kind_of
from kmem.pipelines.executors.protocol import Executor, Outcome, Step
from kmem.pipelines.ledger import Receipt
from kmem.pipelines.steps.site import opened, site_of
from kmem.pipelines.tools import Tools
from kmem.progress import Progress

MOST_LOOKS = 20
"""Times that a task is gone through one document at a time before the build gives up on it."""
ALL_FAIL = 10
"""Documents that fail from the first one on, with none between that passes: then it is not the documents."""
_END = object()


class Unread(Exception):
    """Stands among the units of a task where no unit is: where a piece begins, so that the numbers say which piece it is that can't be
    read on; or with a cause, in the place of a unit that can't be read because of it, which `alone` raises.
    """

    text = ""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Runs the stages of one build. progress: told (stage, done, total)."""

    place: Place
    executor: Executor
    progress: Progress

    def run(
        self, step: Step, tasks: Sequence[Any], *, units: Callable[[Any], int] = lambda task: 1, total: int | None = None
    ) -> list[Receipt]:
        """The receipts in the order of the tasks. units: what a task counts for in the progress bar.

        Raises what a step raises about the build itself, and BuildError when a task fails for another reason than a document in it.
        """
        total = sum(map(units, tasks)) if total is None else total
        sizes = {task.index: units(task) for task in tasks}
        partial: dict[int, int] = {}
        done, told = 0, -1

        def tell() -> None:
            nonlocal told
            now = done + sum(partial.values())
            if now > told:  # what was counted of a task that failed is not taken back
                told = now
                self.progress(step.stage, now, total)

        def advance(index: int, count: int) -> None:
            partial[index] = min(sizes.get(index, 0), partial.get(index, 0) + count)
            tell()

        tell()
        receipts: dict[int, Receipt] = {}
        pending, failures = list(tasks), dict[int, int]()
        while pending:
            again: list[Any] = []
            for outcome in self.executor.map(step, pending, advance):
                index = outcome.task.index
                partial.pop(index, None)
                if outcome.receipt is not None:
                    receipts[index] = outcome.receipt
                    done += sizes[index]
                    tell()
                else:
                    failures[index] = failures.get(index, 0) + 1
                    again.append(self._mended(step, outcome, failures[index]))
            pending = again
        return [receipts[task.index] for task in tasks]

    def _mended(self, step: Step, outcome: Outcome, failures: int) -> Any:
        """The task as it is to be tried again, without the documents that made it fail."""
        assert outcome.error is not None
        attempts = self.executor.attempts
        if outcome.final and (failures >= attempts or not isinstance(outcome.error, OSError)):
            raise outcome.error
        if failures < attempts:
            return outcome.task
        if failures >= attempts + MOST_LOOKS:
            raise BuildError(f"Stage {step.stage}, task {outcome.task.index} fails again and again ({_said(outcome.error)}); {_TRACE}")
        return self._without_the_guilty(step, outcome)

    def _without_the_guilty(self, step: Step, outcome: Outcome) -> Any:
        task = outcome.task
        first, passed, found = 0, 0, list(task.aside)
        while True:
            examine = Examine(step=step, site=site_of(self.place), first=first)
            (seen,) = self.executor.map(examine, [replace(task, aside=tuple(found))], _unseen)
            if seen.receipt is not None:
                found += [(int(number), str(reason)) for number, reason in seen.receipt.facts["failed"]]
                if not seen.receipt.facts["units"] and not outcome.died:
                    raise BuildError(_nobody_is_to_blame(step.stage, outcome.error))
                break
            if seen.final or not self.executor.apart:
                assert seen.error is not None
                raise seen.error
            note = last_note(self.place, step.stage, task.index)  # its worker died
            if note is None:
                break
            guilty, passed = note[0], passed + note[1]
            if any(number == guilty for number, _ in found):  # nothing is done to it any more: it kills where it is read
                if (guilty, UNREADABLE) in found:
                    break
                found = [(number, UNREADABLE if number == guilty else reason) for number, reason in found]
            else:
                found.append((guilty, DIED))
            first = guilty + 1
            if len(found) >= ALL_FAIL and not passed:
                raise BuildError(f"Stage {step.stage} ends its worker on every document it is given, task {task.index}; {_TRACE}")
        forget_notes(self.place, step.stage, task.index)
        if sorted(found) == list(task.aside):
            return task  # all of them passed alone: whatever it was has passed too, or will be seen again
        return replace(task, aside=tuple(sorted(found)))


DIED = "ended its worker"
WHILE_READ = " while it was read"
"""Ends the reason of a document behind which nothing of its piece can be read."""
UNREADABLE = f"{DIED}{WHILE_READ}"
_TRACE = "see the workers' logs."


@dataclass(frozen=True, kw_only=True)
class Examine:
    """A step done to each unit of a task alone, from unit `first` on. Before each its number is written down, in case that it kills."""

    step: Step
    site: str
    first: int = 0

    @property
    def stage(self) -> str:
        return self.step.stage

    def __call__(self, task: Any, tools: Tools) -> Receipt:
        """A receipt whose facts are `failed`, [(number of the unit, reason)], and `units`, how many there are.

        Raises BuildError where all fail.
        """
        place, aside = opened(self.site, tools), {number for number, _ in task.aside}
        failed: list[tuple[int, str]] = []
        passed, units, read = 0, 0, self.step.units(task, tools)
        for number in count():
            if number >= self.first:
                place.replace(_note(self.stage, task.index), f"{number} {passed}".encode())
            if (unit := next(read, _END)) is _END:
                break
            if isinstance(unit, Unread) and unit.__cause__ is None:
                continue
            units += 1
            if number < self.first or number in aside:
                continue
            try:
                self.step.alone(unit, task, tools)
                passed += 1
            except Exception as error:
                if is_final(error):
                    raise
                failed.append((number, _said(error)))
            if len(failed) >= ALL_FAIL and not passed:
                raise BuildError(f"Stage {self.stage} fails on every document that it is given ({failed[0][1]}).")
        return Receipt(index=task.index, facts={"failed": failed, "units": units})


def last_note(place: Place, stage: str, index: int) -> tuple[int, int] | None:
    """(the unit that a worker was at when it died, how many had passed)."""
    try:
        number, passed = map(int, place.read(_note(stage, index)).split())
    except (FileNotFoundError, ValueError):
        return None
    return number, passed


def forget_notes(place: Place, stage: str, index: int) -> None:
    place.remove([_note(stage, index)])


def _note(stage: str, index: int) -> str:
    return f"{BUILD}/examined/{stage}-{index:05d}"


def _said(error: BaseException | None) -> str:
    """A short reason to count by: the kind of the error, without what differs from document to document."""
    if isinstance(error, Unread):
        return f"{_said(error.__cause__)}{WHILE_READ}"
    return "failed" if error is None else f"raised {kind_of(error)}"


def _nobody_is_to_blame(stage: str, error: BaseException | None) -> str:
    """Of a stage that sees no documents."""
    said = _said(error)
    way_out = "run it where there is more memory" if said.endswith(MemoryError.__name__) else _TRACE.rstrip(".")
    return f"Stage {stage} {said}, and no document is to blame; {way_out}."


def _unseen(index: int, count: int) -> None:
    """An examination moves no bar."""
