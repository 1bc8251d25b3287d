"""Choosing memories by what stands beside them: `FIELD=PATTERN`."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from kmem.document import Chunk
from kmem.errors import ConfigError
from kmem.kstore.bank import Bank

FIELDS = {"source": "source", "title": "title", "text": "text", "id": "id", "document": "document_id"}
NUMBERS = ("id", "document")
NUMERIC = set("0123456789*?[]!-")
BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Condition:
    """`pattern` is compared with the whole field, case and all; `text` is without the title.

    `*` stands for any characters, `?` for one, `[ab]` for one of them.
    """

    field: str
    pattern: str

    @classmethod
    def parse(cls, written: str) -> "Condition":
        """`source=notes/*.md`. Raises ConfigError naming the fields there are."""
        field, equals, pattern = written.partition("=")
        field = field.strip()
        if not equals or not field:
            raise ConfigError(f"{written!r} is not FIELD=PATTERN; fields are {', '.join(FIELDS)}, as in 'source=notes/*.md'.")
        if field not in FIELDS:
            raise ConfigError(f"There is no field {field!r} to choose by; there are {', '.join(FIELDS)}.")
        if not pattern:
            raise ConfigError(f"{written!r} has no pattern; '*' stands for any text, as in 'source=notes/*.md'.")
        if field in NUMBERS and not set(pattern) <= NUMERIC:
            raise ConfigError(f"{written!r}: an id is a number, as kmem query shows it.")
        return cls(field, pattern)

    def matches(self, chunk: Chunk) -> bool:
        return fnmatchcase(str(getattr(chunk, FIELDS[self.field])), self.pattern)


def matching(bank: Bank, conditions: Sequence[Condition]) -> list[int]:
    """Ids of the memories that meet every condition. Raises ConfigError for none, which would be all of them."""
    if not conditions:
        raise ConfigError("Say which memories: --where FIELD=PATTERN.")
    found: list[int] = []
    ids = bank.ids.tolist()
    for start in range(0, len(ids), BLOCK_ROWS):
        chunks = bank.chunks(ids[start : start + BLOCK_ROWS])
        found += [chunk.id for chunk in chunks if all(condition.matches(chunk) for condition in conditions)]
    return found
