"""Choosing memories by what stands beside them: `FIELD=PATTERN`."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from kmem.document import Chunk
from kmem.errors import ConfigError
from kmem.kstore.bank import Bank

FIELDS = {"source": "source", "title": "title", "text": "text", "id": "id", "document": "document_id"}
BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Condition:
    """`pattern` is compared with the whole field, case and all; `*` stands for any characters, `?` for one, `[ab]` for one of them."""

    field: str
    pattern: str

    @classmethod
    def parse(cls, written: str) -> "Condition":
        """`source=notes/*.md`. Raises ConfigError naming the fields there are."""
        field, equals, pattern = written.partition("=")
        if not equals or field.strip() not in FIELDS or not pattern:
            raise ConfigError(f"{written!r} is not FIELD=PATTERN; fields are {', '.join(FIELDS)}, as in 'source=notes/*.md'.")
        return cls(field.strip(), pattern)

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
