"""What can't be read is set aside: where it is, why, how it begins."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from kmem.errors import SourceError


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """A file or record that was left out. `source` names the file and the line, row or entry in it.

    `reason` is one of a few, counted as `rejected: {reason}`; `message` is the sentence for a person; `sample` at most 80 characters.
    """

    source: str
    reason: str
    sample: str = ""
    message: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


Reject = Callable[[Rejected], None]


def ignore(rejected: Rejected) -> None:
    """For those who only want the counts."""


def refuse(rejected: Rejected) -> None:
    """For those who need every record. Raises SourceError."""
    raise SourceError(rejected.message)
