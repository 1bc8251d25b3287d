"""All shards of a bank as one sequence, mapped when first touched."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem.kstore.manifest import Manifest
from kmem.kstore.quant import Quantiser, record_bytes
from kmem.kstore.shard import ShardFile, Verify
from kmem.kstore.side import map_side_array


class Parts:
    """Records, slot positions and lengths by (shard, row), over all generations in order. Safe to use from threads.

    Raises CorruptBankError for a file that is not what the manifest says.
    """

    def __init__(self, root: Path, manifest: Manifest, quantiser: Quantiser, verify: Verify) -> None:
        self._root, self._verify = root, verify
        self._slots = manifest.profile.slots
        self.record_bytes = record_bytes(quantiser, self._slots, manifest.head_dim)
        self._record_shape = quantiser.record_shape(self._slots, manifest.head_dim)
        self._dtype = quantiser.record_dtype()
        self._places = [(generation.rows_per_shard, shard) for generation in manifest.generations for shard in generation.shards]
        self.shards = tuple(shard for _, shard in self._places)
        self._kv: dict[int, ShardFile] = {}
        self._side: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}

    def read(self, places: Sequence[tuple[int, int]]) -> tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.int64]]:
        """Records [n, *record_shape], slot_position [n, S] and lengths [n] at (shard, row) pairs, in order."""
        records = np.empty((len(places), *self._record_shape), dtype=self._dtype)
        slot_position = np.empty((len(places), self._slots), dtype=np.uint8)
        lengths = np.empty(len(places), dtype=np.int64)
        for target, (number, row) in enumerate(places):
            self._kv_of(number).read_into(row, records[target])
            positions, length = self._side_of(number)
            slot_position[target], lengths[target] = positions[row], length[row]
        return records, slot_position, lengths

    def close(self) -> None:
        """Drop the maps; each is unmapped once no reader uses it any more."""
        self._kv, self._side = {}, {}

    def _kv_of(self, number: int) -> ShardFile:
        found = self._kv.get(number)
        if found is None:
            grid_rows, shard = self._places[number]
            found = self._kv[number] = ShardFile(
                self._root / shard.kv_file,
                rows=shard.rows,
                grid_rows=grid_rows,
                record_shape=self._record_shape,
                dtype=self._dtype,
                verify=self._verify,
            )
        return found

    def _side_of(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        found = self._side.get(number)
        if found is None:
            grid_rows, shard = self._places[number]
            found = self._side[number] = (
                map_side_array(self._root, shard.slot_position, (grid_rows, self._slots)),
                map_side_array(self._root, shard.length, (grid_rows,)),
            )
        return found
