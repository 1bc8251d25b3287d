"""Where memories come from: a bank that is searched, a fixed set, or a schedule that is replayed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from kmem.errors import MemoryNotFoundError
from kmem.kstore.bank import Bank
from kmem.memories import Memories, MemorySpec
from kmem.runtime.schedule import Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Characters start..stop−1 of the document `source`."""

    source: str
    start: int
    stop: int


class Source(Protocol):
    """A supplier of memories for spans of tokens."""

    spec: MemorySpec

    def retrieve(self, queries: Sequence[Sequence[int]]) -> list[Ids]:
        """The ids that answer each query, a list of token ids."""
        ...

    def require(self, ids: Sequence[int]) -> None:
        """Raise MemoryNotFoundError unless all of these are here."""
        ...

    def read(self, ids: Sequence[int]) -> Memories:
        """The memories of these ids, in order."""
        ...

    def origin(self, memory_id: int) -> Origin:
        """Where the text of this memory stands."""
        ...


class BankSource:
    """The `top_k` memories of a bank whose text is nearest to the query's text; none where special tokens and spaces are all of it."""

    def __init__(self, bank: Bank, tokenizer: PreTrainedTokenizerBase, top_k: int) -> None:
        self.bank, self.tokenizer, self.top_k = bank, tokenizer, top_k
        self.spec = bank.spec

    def retrieve(self, queries: Sequence[Sequence[int]]) -> list[Ids]:
        texts = [self.tokenizer.decode(list(query), skip_special_tokens=True) for query in queries]
        found = iter(self.bank.search_many([text for text in texts if text.strip()], self.top_k))
        return [tuple(hit.id for hit in next(found)) if text.strip() else () for text in texts]

    def require(self, ids: Sequence[int]) -> None:
        self.bank.lengths(ids)

    def read(self, ids: Sequence[int]) -> Memories:
        return self.bank.read(ids, positions=False)

    def origin(self, memory_id: int) -> Origin:
        chunk = self.bank.chunk(memory_id)
        return Origin(source=chunk.source, start=chunk.start, stop=chunk.end)


class FixedSource:
    """The same memories for every token."""

    def __init__(self, memories: Memories) -> None:
        self.memories, self.spec = memories, memories.spec
        self._row = {memory_id: row for row, memory_id in enumerate(memories.ids)}

    def retrieve(self, queries: Sequence[Sequence[int]]) -> list[Ids]:
        return [self.memories.ids for _ in queries]

    def require(self, ids: Sequence[int]) -> None:
        missing = [memory_id for memory_id in ids if memory_id not in self._row]
        if missing:
            raise MemoryNotFoundError(f"Memory {missing[0]} is not among the {len(self.memories)} attached ones.")

    def read(self, ids: Sequence[int]) -> Memories:
        self.require(ids)
        return self.memories.take([self._row[memory_id] for memory_id in ids])

    def origin(self, memory_id: int) -> Origin:
        return Origin(source="", start=0, stop=0)
