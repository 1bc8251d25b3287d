"""A bank is what other people's readers of Zarr v3 say it is: zarr-python, zarrs and tensorstore read equal arrays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr
from numpy.typing import NDArray

from kmem.kstore.quant import QUANTISERS
from kmem.paths import ZARR
from tests.kstore.kit import tiny_chunks, tiny_codec, tiny_memories, tiny_spec, write_bank

Reader = Callable[[Path], NDArray[Any]]
"""The whole array in a folder."""


def by_zarr(folder: Path) -> NDArray[Any]:
    return np.asarray(zarr.open_array(str(folder), mode="r")[:])


def by_zarrs(folder: Path) -> NDArray[Any]:
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "codec_pipeline.strict": True}):
        return by_zarr(folder)


def by_tensorstore(folder: Path) -> NDArray[Any]:
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder}/"}}
    return np.asarray(tensorstore.open(spec, read=True).result().read().result())


READERS: dict[str, Reader] = {"zarr": by_zarr, "zarrs": by_zarrs, "tensorstore": by_tensorstore}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", QUANTISERS)
@pytest.mark.parametrize(("count", "rows_per_shard"), [(1, 1), (5, 2), (6, 3), (3, 100)])
def test_other_readers_read_what_was_written(tmp_path: Path, reader: str, name: str, count: int, rows_per_shard: int) -> None:
    write_bank(tmp_path / "bank", count=count, rows_per_shard=rows_per_shard, name=name)
    expected = tiny_memories(tiny_spec(), tiny_chunks(count))
    arrays = {
        "kv": tiny_codec(name).encode(expected.kv),
        "slot_position": expected.slot_position.numpy(),
        "length": expected.lengths.numpy(),
        "id": np.array(expected.ids, dtype=np.int64),
    }
    for array, values in arrays.items():
        found = READERS[reader](tmp_path / "bank" / ZARR / "g0000" / array)
        assert found.shape == values.shape
        assert np.array_equal(found, values)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("at", [3, -3])
def test_other_readers_refuse_a_flipped_byte(tmp_path: Path, reader: str, at: int) -> None:
    """In a record, and in a shard's index: the checksums are where Zarr looks for them."""
    shard = write_bank(tmp_path / "bank").generations[0].shards[0]
    file = tmp_path / "bank" / shard.files[0].file
    data = bytearray(file.read_bytes())
    data[at] ^= 0x10
    file.write_bytes(data)
    with pytest.raises((ValueError, RuntimeError), match=r"(?i)checksum|crc|digest"):
        READERS[reader](tmp_path / "bank" / ZARR / "g0000" / "kv")
