"""How a generation lies in Zarr v3: arrays, chunk grids, codecs. zarr-python does the encoding, in memory.

    memories.zarr/<generation>/kv             [N, *record]  sharded: one inner chunk = one record, crc32c each and on the index
    memories.zarr/<generation>/slot_position  [N, S] uint8  one chunk = the rows of one shard, crc32c
    memories.zarr/<generation>/length         [N]    uint8  the same

The bytes are handed back rather than stored by Zarr: its LocalStore renames a temporary file into place but never flushes it
to the device, and a write into an existing shard reads the old one first, so a damaged shard could not be written again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.storage import MemoryStore

from kmem.memories import EMPTY_SLOT
from kmem.paths import ZARR


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The arrays of one generation of `rows` memories; `attributes` go with kv."""

    generation: str
    rows: int
    rows_per_shard: int
    slots: int
    record_shape: tuple[int, ...]
    record_dtype: np.dtype[Any]
    attributes: Mapping[str, Any]

    def metadata(self) -> dict[str, bytes]:
        """File (relative to the bank) → contents of every zarr.json."""
        return {file: bytes(data) for file, data in self._files(self._create()).items()}

    def encode_kv(self, shard: int, records: NDArray[Any]) -> tuple[str, memoryview]:
        """File (relative to the bank) and bytes of the records [n, *record_shape] of one shard."""
        return self._encode("kv", shard, records)

    def encode_slot_position(self, shard: int, slot_position: NDArray[np.uint8]) -> tuple[str, memoryview]:
        """File and bytes of the positions [n, S] of one shard."""
        return self._encode("slot_position", shard, slot_position)

    def encode_length(self, shard: int, lengths: NDArray[np.uint8]) -> tuple[str, memoryview]:
        """File and bytes of the lengths [n] of one shard."""
        return self._encode("length", shard, lengths)

    def _encode(self, name: str, shard: int, values: NDArray[Any]) -> tuple[str, memoryview]:
        store = self._create()
        first = shard * self.rows_per_shard
        array = zarr.open_array(MemoryStore(store), path=f"{self.generation}/{name}", mode="r+")
        # Reading damage as zeros must stay impossible: a record that is all zero is written too.
        array.with_config({"write_empty_chunks": True})[first : first + len(values)] = values
        return next((file, data) for file, data in self._files(store).items() if not file.endswith("zarr.json"))

    def _create(self) -> dict[str, Any]:
        """A store that holds the metadata of an empty generation."""
        store: dict[str, Any] = {}
        group = zarr.create_group(MemoryStore(store)).create_group(self.generation)
        group.create_array(
            "kv",
            shape=(self.rows, *self.record_shape),
            dtype=self.record_dtype,
            shards=(self.rows_per_shard, *self.record_shape),
            chunks=(1, *self.record_shape),
            filters=None,
            serializer=BytesCodec(endian="little"),
            compressors=(Crc32cCodec(),),
            fill_value=0,
            attributes=dict(self.attributes),
        )
        for name, shape, fill in (("slot_position", (self.slots,), EMPTY_SLOT), ("length", (), 0)):
            group.create_array(
                name,
                shape=(self.rows, *shape),
                dtype="uint8",
                chunks=(self.rows_per_shard, *shape),
                filters=None,
                compressors=(Crc32cCodec(),),
                fill_value=fill,
            )
        return store

    @staticmethod
    def _files(store: Mapping[str, Any]) -> dict[str, memoryview]:
        return {f"{ZARR}/{key}": memoryview(buffer.as_numpy_array()).cast("B") for key, buffer in sorted(store.items())}
