"""Where memories come from: a bank that is searched, a fixed set, or a schedule that is replayed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from kmem.encoder.hidden import QUERY_TOKENS, HiddenStates
from kmem.errors import MemoryNotFoundError
from kmem.kstore.bank import Bank
from kmem.kstore.index.queries import Queries
from kmem.kstore.quant import Quantiser
from kmem.memories import Memories, MemorySpec
from kmem.runtime.ahead import ReadAhead
from kmem.runtime.ram import RamTier
from kmem.runtime.records import Records
from kmem.runtime.schedule import Ids
from kmem.runtime.stats import Stats


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Characters start..stop−1 of the document `source`."""

    source: str
    start: int
    stop: int


class Source(Protocol):
    """A supplier of memories for spans of tokens; what it did goes into `stats`."""

    spec: MemorySpec

    @property
    def quantiser(self) -> Quantiser | None:
        """What stored the records; None where they are numbers as they are."""
        ...

    def retrieve(self, queries: Sequence[Sequence[int]], stats: Stats) -> list[Ids]:
        """The ids that answer each query, a list of token ids."""
        ...

    def require(self, ids: Sequence[int]) -> None:
        """Raise MemoryNotFoundError unless all of these are here."""
        ...

    def read(self, ids: Sequence[int], stats: Stats) -> Records:
        """The memories of these ids, in order, as they are stored."""
        ...

    def read_ahead(self, stats: Stats) -> None:
        """The forward pass has what it wants: prepare for the next, if it retrieved. Returns at once."""
        ...

    def origin(self, memory_id: int) -> Origin:
        """Where the text of this memory stands."""
        ...

    def close(self) -> None:
        """End threads and give memory back; using it again begins anew."""
        ...


class BankSource:
    """The `top_k` memories of a bank whose text is nearest to the query's text, through a RAM tier that is read ahead.

    A query of special tokens and spaces alone finds nothing. hidden: what the bank's index was made of, where that is the model itself.
    """

    def __init__(
        self,
        bank: Bank,
        tokenizer: PreTrainedTokenizerBase,
        top_k: int,
        *,
        ram_bytes: int = 0,
        ahead: int = 0,
        hidden: HiddenStates | None = None,
    ) -> None:
        self.bank, self.tokenizer, self.top_k = bank, tokenizer, top_k
        self._hidden = hidden
        self.spec, self.quantiser = bank.spec, bank.quantiser
        self._ram = RamTier(bank.record_shape, bank.record_dtype, budget_bytes=ram_bytes, most=len(bank))
        self._ahead = ReadAhead(bank, self._ram, near=top_k, ahead=ahead)
        self._asked: Queries | None = None

    def retrieve(self, queries: Sequence[Sequence[int]], stats: Stats) -> list[Ids]:
        self._ahead.stop()
        texts = [self.tokenizer.decode(list(query), skip_special_tokens=True) for query in queries]
        spoken = [row for row, text in enumerate(texts) if text.strip()]
        if not spoken:
            return [() for _ in texts]
        began = time.perf_counter()
        self._asked = self._queries([queries[row] for row in spoken], [texts[row] for row in spoken])
        embedded = time.perf_counter()
        _, nearest = self.bank.nearest(self._asked, self.top_k)
        stats.note_search(embed_s=embedded - began, search_s=time.perf_counter() - embedded)
        found = iter(nearest.tolist())
        return [tuple(memory_id for memory_id in next(found) if memory_id >= 0) if text.strip() else () for text in texts]

    def _queries(self, tokens: Sequence[Sequence[int]], texts: Sequence[str]) -> Queries:
        if self._hidden is None:
            return self.bank.queries(texts)
        return Queries(vectors=self._hidden.embed_tokens([query[-QUERY_TOKENS:] for query in tokens]), texts=tuple(texts))

    def require(self, ids: Sequence[int]) -> None:
        self.bank.lengths(ids)

    def read(self, ids: Sequence[int], stats: Stats) -> Records:
        began = time.perf_counter()
        records = self.bank.buffer(len(ids))
        missing, first_used = self._ram.take(ids, records, range(len(ids)))
        if missing:
            self._ahead.wait_for([ids[place] for place in missing])
            missing, also_used = self._ram.take(ids, records, missing)
            first_used += also_used
        if missing:
            wanted = [ids[place] for place in missing]
            fresh = records if len(wanted) == len(ids) else np.empty((len(wanted), *records.shape[1:]), dtype=records.dtype)
            self.bank.read_into(wanted, fresh)
            if fresh is not records:
                records[missing] = fresh
            self._ram.keep(wanted, fresh)
        filled = self.bank.filled(ids)
        stats.note_read(
            ram_hits=len(ids) - len(missing),
            ram_misses=len(missing),
            stored_bytes=len(missing) * self.bank.record_bytes,
            first_used=first_used,
            read_s=time.perf_counter() - began,
        )
        return Records(ids=tuple(ids), stored=torch.from_numpy(records), filled=filled)

    def keep_in_ram(self, ids: Sequence[int], records: NDArray[np.generic]) -> None:
        """Hold records [n, *record] that the bank does not have, as it would store them, while the budget has room for them."""
        self._ram.keep(ids, records)

    def read_ahead(self, stats: Stats) -> None:
        if self._asked is not None:
            self._ahead.begin(self._asked, stats)
            self._asked = None

    def origin(self, memory_id: int) -> Origin:
        chunk = self.bank.chunk(memory_id)
        return Origin(source=chunk.source, start=chunk.start, stop=chunk.end)

    def close(self) -> None:
        self._ahead.close()
        self._ram.clear()


class FixedSource:
    """The same memories for every token."""

    quantiser = None

    def __init__(self, memories: Memories) -> None:
        self.memories, self.spec = memories, memories.spec
        self._row = {memory_id: row for row, memory_id in enumerate(memories.ids)}

    def retrieve(self, queries: Sequence[Sequence[int]], stats: Stats) -> list[Ids]:
        return [self.memories.ids for _ in queries]

    def require(self, ids: Sequence[int]) -> None:
        missing = [memory_id for memory_id in ids if memory_id not in self._row]
        if missing:
            raise MemoryNotFoundError(f"Memory {missing[0]} is not among the {len(self.memories)} attached ones.")

    def read(self, ids: Sequence[int], stats: Stats) -> Records:
        self.require(ids)
        chosen = self.memories.take([self._row[memory_id] for memory_id in ids])
        return Records(ids=chosen.ids, stored=chosen.kv, filled=chosen.filled)

    def read_ahead(self, stats: Stats) -> None:
        """All is in RAM."""

    def origin(self, memory_id: int) -> Origin:
        return Origin(source="", start=0, stop=0)

    def close(self) -> None:
        """The memories are the caller's."""
