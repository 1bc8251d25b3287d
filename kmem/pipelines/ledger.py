"""What a stage leaves of each of its tasks: data files, then a receipt that names them, then an empty marker (datatrove's convention).

A marker that says done means the files are there. Whatever a power cut left damaged counts as not done.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from kmem.errors import CorruptBankError
from kmem.kstore.claim import BUILD
from kmem.kstore.place import Place
from kmem.kstore.stored import StoredFile, require_unaltered

KEPT = "kept"
CAME = "in"
ASIDE = "aside"
"""A fact of a receipt: what of the task was left out, and why."""
DROPPED, REJECTED = "dropped: ", "rejected: "


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What one task did.

    key: a digest of all that its result follows from. files: what it wrote. counts: `in`, `kept`, what was dropped or rejected by reason,
    and other things counted. facts: what later stages want to know. seconds: how long it took, once what it works with was loaded.
    ended: when, by the clock of its worker, in seconds since 1970. reused: it was there already.
    """

    index: int
    key: str = ""
    files: tuple[StoredFile, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    ended: float = field(default_factory=time.time, compare=False)
    reused: bool = False

    @property
    def span(self) -> tuple[float, float] | None:
        """When the task began and ended; None where it was not done now."""
        return None if self.reused else (self.ended - self.seconds, self.ended)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"files": [file.to_dict() for file in self.files]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Receipt":
        """Raises KeyError, TypeError or ValueError for what is none."""
        return cls(**{**data, "files": tuple(StoredFile(**file) for file in data["files"])})


class Ledger:
    """The folder `build/<stage>` of a bank."""

    def __init__(self, place: Place, stage: str) -> None:
        self.place, self.folder = place, f"{BUILD}/{stage}"

    def file(self, index: int, ending: str) -> str:
        """Path of a task's data file."""
        return f"{self.folder}/{index:05d}.{ending}"

    def receipt(self, index: int) -> Receipt | None:
        """A task's receipt if its marker is there and it can be read, whatever became of its files."""
        marker = self._marker(index)
        if marker not in self.place.lengths([marker]):
            return None
        try:
            return Receipt.from_dict(json.loads(self.place.read(self._receipt(index))))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def whole(self, receipt: Receipt) -> bool:
        """Whether the files are what was written."""
        try:
            for file in receipt.files:
                require_unaltered(self.place, file)
        except (CorruptBankError, FileNotFoundError):
            return False
        return True

    def once(self, task: Any, key: Callable[[Any], str], work: Callable[[Any], Receipt]) -> Receipt:
        """The receipt of a task with this key whose files are what was written; else that of `work`, with key and seconds, now finished.

        What `work` is given leaves out what was found to fail when the same was done before.
        """
        before = self.receipt(task.index)
        task = as_before(task, before, key)
        known = key(task)
        if before is not None and before.key == known and self.whole(before):
            return replace(before, reused=True)
        began = time.perf_counter()
        receipt = work(task)
        receipt = replace(receipt, key=known, seconds=time.perf_counter() - began)
        self.finish(receipt)
        return receipt

    def finish(self, receipt: Receipt) -> None:
        """Write the receipt, then the marker."""
        self.place.replace(self._receipt(receipt.index), json.dumps(receipt.to_dict(), sort_keys=True).encode())
        self.place.replace(self._marker(receipt.index), b"")

    def _receipt(self, index: int) -> str:
        return f"{self.folder}/receipts/{index:05d}.json"

    def _marker(self, index: int) -> str:
        return f"{self.folder}/completions/{index:05d}"


def as_before(task: Any, before: Receipt | None, key: Callable[[Any], str]) -> Any:
    """The task without what was found to fail when the same was done `before`, by the key of either: it is not tried again."""
    if before is None or task.aside:
        return task
    known = replace(task, aside=tuple((int(number), str(reason)) for number, reason in before.facts.get(ASIDE, ())))
    return known if before.key == key(known) else task


def balance(counts: Mapping[str, int]) -> int:
    """`in` less what was kept, dropped and rejected: 0 where nothing was lost unsaid."""
    left = sum(count for reason, count in counts.items() if reason.startswith((DROPPED, REJECTED)))
    return counts.get(CAME, 0) - counts.get(KEPT, 0) - left


def summed(receipts: "list[Receipt]") -> Counter[str]:
    """The counts of several receipts."""
    total: Counter[str] = Counter()
    for receipt in receipts:
        total.update(receipt.counts)
    return total
