"""Copying memories from banks into a new generation: what compaction, merging and conversion share."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem.document import Chunk
from kmem.kstore.bank import TEXTS_AT_ONCE, Bank
from kmem.kstore.generation import BLOCK_BYTES, GenerationWriter
from kmem.kstore.manifest import Shard
from kmem.kstore.stream import COPIES_AT_ONCE, write_streamed
from kmem.progress import Progress


class Copied:
    """The memories with `ids` of several open banks, one after another: `ids[i]` are taken from `banks[i]`."""

    def __init__(self, banks: Sequence[Bank], ids: Sequence[Sequence[int]]) -> None:
        self._banks, self._ids = tuple(banks), tuple(tuple(some) for some in ids)
        self._starts = np.cumsum([0, *map(len, self._ids)]).tolist()

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def ids(self) -> NDArray[np.int64]:
        """[N] all ids in order."""
        return np.concatenate([np.asarray(some, dtype=np.int64) for some in self._ids])

    def vectors(self) -> NDArray[np.float32]:
        """[N, dim] what the banks' indexes hold."""
        return np.concatenate([bank.vectors(some) for bank, some in zip(self._banks, self._ids, strict=True) if some])

    def texts(self) -> Iterator[str]:
        """The references of all, in order."""
        for bank, ids in zip(self._banks, self._ids, strict=True):
            for start in range(0, len(ids), TEXTS_AT_ONCE):
                yield from (chunk.reference for chunk in bank.chunks(ids[start : start + TEXTS_AT_ONCE]))

    def write_shard(self, writer: GenerationWriter, index: int) -> Shard:
        """Copy the rows of one shard; records are decoded and encoded again only where the quantiser differs.

        Where `writer` leaves records to be written on demand, texts alone are copied.
        """
        parts = list(self._parts(writer.shard_rows(index)))
        chunks: list[Chunk] = [chunk for bank, ids in parts for chunk in bank.chunks(ids)]
        if writer.on_demand:
            return writer.write_texts(index, chunks)
        slot_position = np.concatenate([bank.slot_position(ids).numpy() for bank, ids in parts])
        lengths = np.concatenate([bank.lengths(ids) for bank, ids in parts])
        blocks = (block for bank, ids in parts for block in _blocks(bank, ids, writer))
        return writer.write_records(index, blocks, slot_position, lengths, chunks)

    def write_all(self, writer: GenerationWriter, progress: Progress) -> list[Shard]:
        """Every shard; several at once, but in turn where records are encoded again, which takes every core as it is."""
        progress("copy", 0, len(self))
        return write_streamed(
            (partial(self.write_shard, writer, index) for index in range(writer.shard_count)),
            at_once=COPIES_AT_ONCE if all(_as_stored(bank, writer) for bank in self._banks) else 0,
            wrote=lambda shard: progress("copy", shard.first_row + shard.rows, len(self)),
        )

    def _parts(self, rows: range) -> Iterator[tuple[Bank, Sequence[int]]]:
        for bank, ids, start in zip(self._banks, self._ids, self._starts, strict=False):
            some = ids[max(0, rows.start - start) : max(0, rows.stop - start)]
            if some:
                yield bank, some


def _blocks(bank: Bank, ids: Sequence[int], writer: GenerationWriter) -> Iterator[NDArray[Any]]:
    """Records as `writer` stores them, in blocks [n, *record_shape]."""
    each = max(1, BLOCK_BYTES // max(1, int(np.prod(bank.record_shape)) * bank.record_dtype.itemsize))
    same = _as_stored(bank, writer)
    for start in range(0, len(ids), each):
        some = ids[start : start + each]
        if same:
            records = np.empty((len(some), *bank.record_shape), dtype=bank.record_dtype)
            bank.read_into(some, records)
            yield records
        else:
            yield writer.quantiser.encode(bank.read(some, positions=False).kv)


def _as_stored(bank: Bank, writer: GenerationWriter) -> bool:
    """Whether the bank's records are what `writer` stores."""
    return bank.manifest.quantiser == writer.quantiser.to_dict()
