"""How a generation lies in Zarr v3: arrays, chunk grids, codecs. zarr-python writes the metadata.

    memories.zarr/<generation>/kv             [N, *record]  sharded: one inner chunk = one record, crc32c each and on the index
    memories.zarr/<generation>/slot_position  [N, S] uint8  one chunk = the rows of one shard, crc32c
    memories.zarr/<generation>/length         [N]    uint8  the same
    memories.zarr/<generation>/id             [N]    int64  the same

Where records are written on demand (on_demand.py), kv and slot_position are not sharded: one chunk = one row, crc32c.

The chunks' bytes are made here and not by zarr-python: it takes a millisecond a record, its LocalStore never flushes to the device,
and a write into an existing shard reads the old one first, so a damaged shard could not be written again. Tests hold both equal.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numpy.typing import NDArray
from typing_extensions import Buffer
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.storage import MemoryStore

from kmem.kstore.shard import CRC_BYTES, encode_shard
from kmem.memories import EMPTY_SLOT
from kmem.paths import ZARR

ROOT = f"{ZARR}/zarr.json"
CHUNK_KEYS: dict[str, Any] = {"name": "default", "separator": "."}
"""`kv/c.3.0.0.0`: with slashes every shard would bring folders, each created and flushed to the device before its file can be."""
SIDE_ARRAYS: dict[str, tuple[str, int]] = {"slot_position": ("|u1", EMPTY_SLOT), "length": ("|u1", 0), "id": ("<i8", 0)}
"""Name → element type and fill value of the arrays beside the records."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The arrays of one generation of `rows` memories; `attributes` go with kv. on_demand: a file a record, written later."""

    generation: str
    rows: int
    rows_per_shard: int
    slots: int
    record_shape: tuple[int, ...]
    record_dtype: np.dtype[Any]
    attributes: Mapping[str, Any]
    on_demand: bool = False

    def metadata(self) -> dict[str, bytes]:
        """File (relative to the bank) → contents of every zarr.json."""
        return {f"{ZARR}/{key}": bytes(buffer.to_bytes()) for key, buffer in sorted(self._create().items())}

    def file(self, name: str, shard: int) -> str:
        """Where the chunk of a shard lies, relative to the bank."""
        dimensions = {"kv": 1 + len(self.record_shape), "slot_position": 2, "length": 1, "id": 1}[name]
        return f"{ZARR}/{self.generation}/{name}/c.{'.'.join([str(shard), *['0'] * (dimensions - 1)])}"

    def encode_kv(self, blocks: Iterable[NDArray[Any]]) -> Iterator[Buffer]:
        """The bytes, in pieces, of a shard of these records, given as blocks [n, *record_shape]."""
        return encode_shard((block.astype(self.record_dtype, copy=False) for block in blocks), self.rows_per_shard)

    def encode_side(self, name: str, values: NDArray[Any]) -> bytes:
        """The bytes of a shard's part [n, …] of an array beside the records."""
        dtype, fill = SIDE_ARRAYS[name]
        chunk = np.full((self.rows_per_shard, *values.shape[1:]), fill, dtype=dtype)
        chunk[: len(values)] = values
        plain = chunk.tobytes()
        checksum: int = google_crc32c.value(plain)
        return plain + checksum.to_bytes(CRC_BYTES, "little")

    def _create(self) -> dict[str, Any]:
        """A store that holds the metadata of an empty generation."""
        store: dict[str, Any] = {}
        group = zarr.create_group(MemoryStore(store)).create_group(self.generation)
        group.create_array(
            "kv",
            shape=(self.rows, *self.record_shape),
            dtype=self.record_dtype,
            shards=None if self.on_demand else (self.rows_per_shard, *self.record_shape),
            chunks=(1, *self.record_shape),
            chunk_key_encoding=CHUNK_KEYS,
            filters=None,
            serializer=BytesCodec(endian="little"),
            compressors=(Crc32cCodec(),),
            fill_value=0,
            attributes=dict(self.attributes),
        )
        for name, (dtype, fill) in SIDE_ARRAYS.items():
            shape = (self.slots,) if name == "slot_position" else ()
            loose = self.on_demand and name == "slot_position"
            group.create_array(
                name,
                shape=(self.rows, *shape),
                dtype=dtype,
                chunks=(1 if loose else self.rows_per_shard, *shape),
                chunk_key_encoding=CHUNK_KEYS,
                filters=None,
                compressors=(Crc32cCodec(),),
                fill_value=fill,
            )
        return store
