"""A bank's index as it is searched: vectors, words, or both with their scores fused."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kmem.kstore.index.exact import not_indexed
from kmem.kstore.index.hybrid import FUSION, fuse
from kmem.kstore.index.lexical import LexicalIndex, read_lexical
from kmem.kstore.index.opened import Found, Index
from kmem.kstore.index.queries import Queries
from kmem.kstore.index.search import read_index, search, stored_vectors
from kmem.kstore.manifest import IndexRecord
from kmem.kstore.place import Place


class OpenIndex:
    """The index of this record; a part is read when it is first needed. Safe to use from threads. All methods raise CorruptBankError."""

    def __init__(self, place: Place, record: IndexRecord) -> None:
        self._place, self._record = place, record

    @cached_property
    def dense(self) -> Index:
        """The index of vectors, where the record has one."""
        return read_index(self._place, self._record)

    @cached_property
    def lexical(self) -> LexicalIndex:
        """The index of words, where the record has one."""
        assert self._record.words is not None
        return read_lexical(self._place, self._record.words, self._record.rows)

    def search(self, queries: Queries, k: int, exclude: Sequence[int] = ()) -> Found:
        """Scores and ids [Q, k], best first; id −1 where fewer than k are left, or share a word with the query.

        Excluded ids take no place.
        """
        if not self._record.has_vectors:
            return self.lexical.search(queries.texts, k, exclude)
        if self._record.words is None:
            return search(self.dense, self._record, queries.vectors, k, exclude)
        k = min(k, self._record.rows)
        depth = max(k, FUSION.depth)
        near = search(self.dense, self._record, queries.vectors, depth, exclude)
        return fuse(near, self.lexical.search(queries.texts, depth, exclude), k)

    def vectors(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """[n, dim] that were indexed; dim 0 where it holds words alone. Raises MemoryNotFoundError for an id that it lacks."""
        wanted = np.asarray(ids, dtype=np.int64)
        if self._record.words is not None and len(lacking := wanted[~np.isin(wanted, self.lexical.ids)]):
            raise not_indexed(str(lacking[0]))
        if not self._record.has_vectors:
            return np.zeros((len(ids), 0), dtype=np.float32)
        return stored_vectors(self.dense, wanted)

    @property
    def rows(self) -> int:
        """Texts that it knows, deleted ones included."""
        return self.dense.ntotal if self._record.has_vectors else len(self.lexical.ids)
