"""Reading the small arrays beside the records (slot_position, length, id): one plain Zarr chunk a shard, a crc32c at its end."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmem.errors import CorruptBankError
from kmem.kstore.place import Place
from kmem.kstore.place.protocol import RESTORE
from kmem.kstore.shard import CRC_BYTES
from kmem.kstore.stored import StoredFile, read_verified


def read_side_array(place: Place, stored: StoredFile, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The chunk as a read-only array of `shape` and `dtype`, after checking its digest. Raises CorruptBankError."""
    expected = int(np.prod(shape)) * dtype.itemsize + CRC_BYTES
    if stored.size_bytes != expected:
        raise CorruptBankError(
            f"{place.at(stored.file)} has {stored.size_bytes} bytes where an array of shape {shape} needs {expected}; {RESTORE}"
        )
    return np.frombuffer(read_verified(place, stored)[:-CRC_BYTES], dtype=dtype).reshape(shape)
