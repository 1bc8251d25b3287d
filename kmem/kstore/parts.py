"""All shards of a bank as one sequence, each opened when first touched."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem.errors import MemoryNotEncodedError
from kmem.kstore.manifest import Manifest
from kmem.kstore.on_demand import RecordFiles
from kmem.kstore.place import Place, Span
from kmem.kstore.quant import Quantiser, record_bytes
from kmem.kstore.shard import CRC_BYTES, ShardFile, Verify
from kmem.kstore.side import read_side_array
from kmem.kstore.stored import StoredFile


class Parts:
    """Records, slot positions, lengths and ids by (shard, row), over all generations in order. Safe to use from threads.

    Raises CorruptBankError for a file that is not what the manifest says, MemoryNotEncodedError for a record that is to be written
    on demand and was not yet.
    """

    def __init__(self, place: Place, manifest: Manifest, quantiser: Quantiser, verify: Verify) -> None:
        self._place, self._verify = place, verify
        self._slots = manifest.profile.slots
        self.record_bytes = record_bytes(quantiser, self._slots, manifest.head_dim)
        self.record_shape = quantiser.record_shape(self._slots, manifest.head_dim)
        self.record_dtype = quantiser.record_dtype()
        self._places = [(generation.rows_per_shard, shard) for generation in manifest.generations for shard in generation.shards]
        self.shards = tuple(shard for _, shard in self._places)
        self._on_demand: dict[int, RecordFiles] = {}
        number = 0
        for generation in manifest.generations:
            if generation.on_demand:
                files = RecordFiles(
                    place,
                    generation.name,
                    rows=generation.rows,
                    dimensions=1 + len(self.record_shape),
                    record_bytes=self.record_bytes,
                    slots=self._slots,
                )
                self._on_demand |= dict.fromkeys(range(number, number + len(generation.shards)), files)
            number += len(generation.shards)
        self._kv: dict[int, ShardFile] = {}
        self._lengths: dict[int, NDArray[np.uint8]] = {}
        self._positions: tuple[int, NDArray[np.uint8]] | None = None

    def open_all(self) -> None:
        """Read every shard's index and lengths now, so that reading a record later asks for that record only."""
        for number in range(len(self.shards)):
            if number not in self._on_demand:
                self._kv_of(number)
            self._lengths_of(number)

    def read_into(self, at: Sequence[tuple[int, int]], out: NDArray[Any]) -> None:
        """Copy the records at (shard, row) pairs into `out`: [n, *record_shape], contiguous, of the record's dtype."""
        size = self.record_bytes
        raw = out.reshape(-1).view(np.uint8)
        flat = raw.data
        spans: list[Span] = []
        unchecked: list[tuple[ShardFile, int, int, bytearray]] = []
        for target, (number, row) in self._read_on_demand(at, flat) if self._on_demand else enumerate(at):
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
        self._positions_on_demand(at, found)
        for number in sorted({number for number, _ in at}):
            stored = self.shards[number].slot_position
            if stored is None:
                continue
            rows = self._positions_of(number, stored)
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

    def encoded(self, at: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
        """[n] whether the records at (shard, row) pairs are stored now."""
        found = np.ones(len(at), dtype=bool)
        for files, wanted in self._on_demand_rows(at).items():
            targets, rows = np.array(wanted).T
            found[targets] = files.there(rows)
        return found

    @property
    def on_demand(self) -> tuple[RecordFiles, ...]:
        """The files of every generation whose records are written on demand."""
        return tuple(dict.fromkeys(self._on_demand.values()))

    def record_file(self, number: int, row: int) -> tuple[RecordFiles, int] | None:
        """Where the record at a row of a shard is written on demand: the generation's files, and the row in it; None for a plain shard."""
        files = self._on_demand.get(number)
        return None if files is None else (files, self.shards[number].first_row + row)

    def checks(self) -> list[Callable[[], None]]:
        """One a record that was written on demand: it raises CorruptBankError unless the record is what was written."""
        return [partial(files.check, row) for files in self.on_demand for row in files.stored_rows()]

    def _read_on_demand(self, at: Sequence[tuple[int, int]], flat: memoryview) -> Iterable[tuple[int, tuple[int, int]]]:
        """Copy the records that were written on demand → the (target, (shard, row)) that are in shards."""
        size = self.record_bytes
        missing = []
        for files, wanted in self._on_demand_rows(at).items():
            for (target, _), record in zip(wanted, files.read([row for _, row in wanted]), strict=True):
                if record is None:
                    missing.append(at[target])
                else:
                    flat[target * size : (target + 1) * size] = record.data
        if missing:
            raise self._not_encoded(missing)
        return [(target, (number, row)) for target, (number, row) in enumerate(at) if number not in self._on_demand]

    def _positions_on_demand(self, at: Sequence[tuple[int, int]], found: NDArray[np.uint8]) -> None:
        """Copy the slot positions that were written on demand."""
        missing = []
        for files, wanted in self._on_demand_rows(at).items():
            for (target, _), positions in zip(wanted, files.positions([row for _, row in wanted]), strict=True):
                if positions is None:
                    missing.append(at[target])
                else:
                    found[target] = positions
        if missing:
            raise self._not_encoded(missing)

    def _on_demand_rows(self, at: Sequence[tuple[int, int]]) -> dict[RecordFiles, list[tuple[int, int]]]:
        """The places in `at`, and rows in their generation, of what is written on demand."""
        rows: dict[RecordFiles, list[tuple[int, int]]] = {}
        for target, (number, row) in enumerate(at):
            if number in self._on_demand:
                rows.setdefault(self._on_demand[number], []).append((target, self.shards[number].first_row + row))
        return rows

    def _not_encoded(self, at: Sequence[tuple[int, int]]) -> MemoryNotEncodedError:
        ids: dict[int, NDArray[np.int64]] = {}
        for number in {number for number, _ in at}:
            known = self.ids(number)
            assert known is not None  # only format 1 has none, and nothing on demand
            ids[number] = known
        return MemoryNotEncodedError(self._place, tuple(dict.fromkeys(int(ids[number][row]) for number, row in at)))

    def _kv_of(self, number: int) -> ShardFile:
        found = self._kv.get(number)
        if found is None:
            grid_rows, shard = self._places[number]
            assert shard.kv is not None  # what is on demand was read already
            found = self._kv[number] = ShardFile(
                self._place, shard.kv, rows=shard.rows, grid_rows=grid_rows, record_bytes=self.record_bytes, verify=self._verify
            )
        return found

    def _positions_of(self, number: int, stored: StoredFile) -> NDArray[np.uint8]:
        kept = self._positions
        if kept is None or kept[0] != number:
            grid_rows, _ = self._places[number]
            kept = number, read_side_array(self._place, stored, (grid_rows, self._slots), np.dtype(np.uint8))
            self._positions = kept
        return kept[1]

    def _lengths_of(self, number: int) -> NDArray[np.uint8]:
        found = self._lengths.get(number)
        if found is None:
            grid_rows, shard = self._places[number]
            found = self._lengths[number] = read_side_array(self._place, shard.length, (grid_rows,), np.dtype(np.uint8))
        return found
