"""What a reader is given: a file, the part of it that is wanted, and where to count and set aside."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from kmem.errors import UnreadableError
from kmem.kbuild.readers.config import ReadConfig
from kmem.kbuild.readers.files import opened
from kmem.kbuild.rejected import Reject, Rejected, ignore

TO_THE_END = -1


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Records `start` to `end` (exclusive; -1: all) of the file at `path`, in the unit of its reader; documents call the file `name`.

    `before` is how many lines come before the first record, -1 where nobody has counted.
    """

    path: str
    name: str
    start: int = 0
    end: int = TO_THE_END
    before: int = 0
    config: ReadConfig = field(default_factory=ReadConfig)
    counts: Counter[str] = field(default_factory=Counter)
    reject: Reject = ignore

    def open(self) -> BinaryIO:
        """The file's bytes, unpacked where its name says that it is packed. Raises UnreadableError."""
        return opened(self.path)

    def set_aside(self, place: str, error: UnreadableError) -> None:
        """Count and hand over what can't be read; `place` names file and record."""
        self.counts[f"rejected: {error.reason}"] += 1
        self.reject(Rejected(source=place, reason=error.reason, sample=error.sample, message=str(error)))

    @contextmanager
    def rejecting(self, place: str) -> Iterator[None]:
        """Set aside what fails in the block."""
        try:
            yield
        except UnreadableError as error:
            self.set_aside(place, error)
