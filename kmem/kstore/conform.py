"""Does the Zarr metadata say what the manifest says?

kmem reads by the manifest, every other reader by the zarr.json files, whose digests only prove that they are the listed ones. The two
must give the same arrays.
"""

from typing import Any

import zarr
from zarr.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from kmem.errors import CorruptBankError
from kmem.kstore.bank import Bank
from kmem.kstore.layout import Layout
from kmem.kstore.manifest import Generation
from kmem.kstore.place.protocol import RESTORE
from kmem.kstore.stored import read_verified
from kmem.paths import ZARR

KEYS = "chunk_key_encoding"
"""Format versions differ in it; what counts are the names that it gives the files."""
FILES = {"kv": "kv", "slot_position": "slot_position", "length": "length", "id": "ids"}
"""Array → the file of a shard that holds its part."""


def require_layout(bank: Bank) -> None:
    """Raise CorruptBankError for a zarr.json that the manifest does not list, or says otherwise, naming file and field."""
    for generation in bank.manifest.generations:
        layout = Layout(
            generation=generation.name,
            rows=generation.rows,
            rows_per_shard=generation.rows_per_shard,
            slots=bank.profile.slots,
            record_shape=bank.record_shape,
            record_dtype=bank.record_dtype,
            attributes={"dtype": bank.quantiser.element, "quantiser": bank.quantiser.to_dict()},
            on_demand=generation.on_demand,
        )
        listed = {stored.file: stored for stored in generation.metadata}
        for file, expected in layout.metadata().items():
            array = file.removeprefix(f"{ZARR}/{generation.name}/").removesuffix("/zarr.json")
            if array == "id" and generation.shards[0].ids is None:
                continue  # format version 1
            if file not in listed:
                raise CorruptBankError(f"{bank.place}: the manifest does not list {file}; {RESTORE}")
            there = _parsed(bank, file, read_verified(bank.place, listed[file]))
            _require_same(bank, file, there.to_dict(), _parsed(bank, file, expected).to_dict())
            if array in FILES:
                _require_names(bank, generation, layout, array, there)


def _parsed(bank: Bank, file: str, data: bytes) -> Any:
    """What zarr-python understands: it fills in what may be left out, whichever version of it wrote the file."""
    store = MemoryStore({"zarr.json": default_buffer_prototype().buffer.from_bytes(data)})
    try:
        return zarr.open(store, mode="r").metadata
    except MemoryError:
        raise
    except Exception as error:  # of many kinds, from all over zarr-python
        raise CorruptBankError(f"{bank.place.at(file)} is not Zarr's metadata ({error!r:.80}); {RESTORE}") from error


def _require_same(bank: Bank, file: str, there: dict[str, Any], expected: dict[str, Any]) -> None:
    for field in sorted(there.keys() | expected.keys()):
        if field != KEYS and there.get(field) != expected.get(field):
            values = f"{there.get(field)!r:.80} where the manifest makes it {expected.get(field)!r:.80}"
            raise CorruptBankError(f"{bank.place.at(file)} has the {field} {values}; {RESTORE}")


def _require_names(bank: Bank, generation: Generation, layout: Layout, array: str, metadata: Any) -> None:
    dimensions = len(metadata.shape)
    for shard in generation.shards:
        key = metadata.encode_chunk_key((shard.index, *[0] * (dimensions - 1)))
        stored = getattr(shard, FILES[array])
        name = layout.file(array, shard.index) if stored is None else stored.file  # None: one file a row, named by its number
        if name != f"{ZARR}/{generation.name}/{array}/{key}":
            raise CorruptBankError(f"{bank.place.at(name)} is in the manifest what zarr.json calls {array}/{key}; {RESTORE}")
