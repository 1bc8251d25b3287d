"""All shards of a bank as one sequence, each opened when first touched."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem.kstore.manifest import Manifest
from kmem.kstore.place import Place, Span
from kmem.kstore.quant import Quantiser, record_bytes
from kmem.kstore.shard import CRC_BYTES, ShardFile, Verify
from kmem.kstore.side import read_side_array


class Parts:
    """Records, slot positions, lengths and ids by (shard, row), over all generations in order. Safe to use from threads.

    Raises CorruptBankError for a file that is not what the manifest says.
    """

    def __init__(self, place: Place, manifest: Manifest, quantiser: Quantiser, verify: Verify) -> None:
        self._place, self._verify = place, verify
        self._slots = manifest.profile.slots
        self.record_bytes = record_bytes(quantiser, self._slots, manifest.head_dim)
        self.record_shape = quantiser.record_shape(self._slots, manifest.head_dim)
        self.record_dtype = quantiser.record_dtype()
        self._places = [(generation.rows_per_shard, shard) for generation in manifest.generations for shard in generation.shards]
        self.shards = tuple(shard for _, shard in self._places)
        self._kv: dict[int, ShardFile] = {}
        self._lengths: dict[int, NDArray[np.uint8]] = {}
        self._positions: tuple[int, NDArray[np.uint8]] | None = None

    def open_all(self) -> None:
        """Read every shard's index and lengths now, so that reading a record later asks for that record only."""
        for number in range(len(self.shards)):
            self._kv_of(number)
            self._lengths_of(number)

    def read_into(self, at: Sequence[tuple[int, int]], out: NDArray[Any]) -> None:
        """Copy the records at (shard, row) pairs into `out`: [n, *record_shape], contiguous, of the record's dtype."""
        size = self.record_bytes
        raw = out.reshape(-1).view(np.uint8)
        flat = raw.data
        spans: list[Span] = []
        unchecked: list[tuple[ShardFile, int, int, bytearray]] = []
        for target, (number, row) in enumerate(at):
            shard = self._kv.get(number) or self._kv_of(number)
            spans.append(shard.span(row, flat[target * size : (target + 1) * size]))
            if shard.needs_check(row):
                checksum = bytearray(CRC_BYTES)
                unchecked.append((shard, row, target, checksum))
                spans.append(shard.checksum_span(row, memoryview(checksum)))
        self._place.fetch(spans, cold=bool(unchecked))
        for shard, row, target, checksum in unchecked:
            shard.check(row, raw[target * size : (target + 1) * size], checksum)

    def lengths(self, at: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """[n] tokens of the chunks at (shard, row) pairs."""
        return np.fromiter((self._lengths_of(number)[row] for number, row in at), dtype=np.int64, count=len(at))

    def slot_position(self, at: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
        """[n, S] positions that the slots at (shard, row) pairs keep; the rows of a shard are read, and verified, as a whole.

        Those of the last shard are kept, since a bank that is gone through in blocks asks for them again at once.
        """
        found = np.empty((len(at), self._slots), dtype=np.uint8)
        for number in sorted({number for number, _ in at}):
            rows = self._positions_of(number)
            for target, (other, row) in enumerate(at):
                if other == number:
                    found[target] = rows[row]
        return found

    def ids(self, number: int) -> NDArray[np.int64] | None:
        """[rows] ids of a shard; None in format version 1, which keeps them with the texts only."""
        grid_rows, shard = self._places[number]
        if shard.ids is None:
            return None
        return read_side_array(self._place, shard.ids, (grid_rows,), np.dtype("<i8"))[: shard.rows]

    def _kv_of(self, number: int) -> ShardFile:
        found = self._kv.get(number)
        if found is None:
            grid_rows, shard = self._places[number]
            found = self._kv[number] = ShardFile(
                self._place, shard.kv, rows=shard.rows, grid_rows=grid_rows, record_bytes=self.record_bytes, verify=self._verify
            )
        return found

    def _positions_of(self, number: int) -> NDArray[np.uint8]:
        kept = self._positions
        if kept is None or kept[0] != number:
            grid_rows, shard = self._places[number]
            kept = number, read_side_array(self._place, shard.slot_position, (grid_rows, self._slots), np.dtype(np.uint8))
            self._positions = kept
        return kept[1]

    def _lengths_of(self, number: int) -> NDArray[np.uint8]:
        found = self._lengths.get(number)
        if found is None:
            grid_rows, shard = self._places[number]
            found = self._lengths[number] = read_side_array(self._place, shard.length, (grid_rows,), np.dtype(np.uint8))
        return found
