"""Reading the small arrays beside the records (slot_position, length): one plain Zarr chunk a shard, a crc32c at its end."""

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kmem.errors import CorruptBankError
from kmem.kstore.durable import RESTORE, StoredFile, require_sha256, require_size
from kmem.kstore.shard import CRC_BYTES


def map_side_array(root: Path, stored: StoredFile, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The chunk as a read-only uint8 array of `shape`, mapped, after checking its sha256. Raises CorruptBankError."""
    path = require_size(root, stored)
    expected = int(np.prod(shape)) + CRC_BYTES
    if stored.size_bytes != expected:
        raise CorruptBankError(f"{path} has {stored.size_bytes} bytes where an array of shape {shape} needs {expected}; {RESTORE}")
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    require_sha256(path, stored, memoryview(mapped))
    return np.frombuffer(mapped, dtype=np.uint8)[:-CRC_BYTES].reshape(shape)
