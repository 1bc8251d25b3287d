"""The folder is a conformant Zarr v3 group: zarr-python, which our reader doesn't use, reads the same arrays."""

from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import torch
import zarr

from kmem.kstore.bank import open_bank
from kmem.kstore.layout import Layout
from kmem.kstore.place import LocalPlace
from kmem.kstore.quant import QUANTISERS, quantiser
from kmem.kstore.shard import ShardFile
from kmem.kstore.stored import store_stream
from tests.kstore.kit import tiny_chunks, tiny_codec, tiny_memories, tiny_spec, write_bank

ARRAYS = ("kv", "slot_position", "length", "id")


@pytest.mark.parametrize("name", QUANTISERS)
@pytest.mark.parametrize(("count", "rows_per_shard"), [(1, 1), (5, 2), (6, 3), (3, 100)])
def test_zarr_python_and_our_reader_agree(tmp_path: Path, name: str, count: int, rows_per_shard: int) -> None:
    path = tmp_path / "bank"
    write_bank(path, count=count, rows_per_shard=rows_per_shard, name=name)
    stored = {name: zarr.open_array(str(path / "memories.zarr"), path=f"g0000/{name}", mode="r")[:] for name in ARRAYS}
    with open_bank(path) as bank:
        memories = bank.read(bank.ids.tolist())
        expected = tiny_memories(tiny_spec(), tiny_chunks(count))
        codec = tiny_codec(name)
        assert torch.equal(memories.kv, codec.decode(codec.encode(expected.kv)))
        assert torch.equal(memories.slot_position, expected.slot_position)
        assert torch.equal(memories.lengths, expected.lengths)
        assert memories.ids == expected.ids
        assert torch.equal(codec.decode(np.asarray(stored["kv"])), memories.kv)
        assert np.array_equal(stored["slot_position"], memories.slot_position.numpy())
        assert np.array_equal(stored["length"], memories.lengths.numpy())
        assert np.asarray(stored["id"]).tolist() == list(memories.ids)


def test_bfloat16_says_so_in_its_attributes(tmp_path: Path) -> None:
    write_bank(tmp_path / "bank", name="bf16")
    array = zarr.open_array(str(tmp_path / "bank" / "memories.zarr"), path="g0000/kv", mode="r")
    assert array.dtype == np.uint16
    assert array.attrs["dtype"] == "bfloat16"


def test_a_shard_is_records_then_index_by_the_letter(tmp_path: Path) -> None:
    """The format by hand: were it to change, banks written before could no longer be read."""
    path = tmp_path / "bank"
    shard = write_bank(path).generations[0].shards[2]  # one record in a grid of two
    record = quantiser("fp16").encode(tiny_memories(tiny_spec(), tiny_chunks(5)).kv)[4].tobytes()
    size = len(record) + 4
    index = np.array([[0, size], [2**64 - 1, 2**64 - 1]], dtype="<u8").tobytes()
    crc = [google_crc32c.value(part).to_bytes(4, "little") for part in (record, index)]
    assert (path / shard.files[0].file).read_bytes() == record + crc[0] + index + crc[1]


def test_an_all_zero_record_is_stored_like_any_other(tmp_path: Path) -> None:
    """Zarr drops chunks that equal the fill value unless told not to; a missing record would look like damage."""
    layout = Layout(
        generation="g0000", rows=2, rows_per_shard=2, slots=3, record_shape=(2, 3, 4), record_dtype=np.dtype("<f4"), attributes={}
    )
    place = LocalPlace(tmp_path)
    stored = store_stream(place, "shard", layout.encode_kv([np.zeros((2, 2, 3, 4), dtype="<f4")]))
    shard = ShardFile(place, stored, rows=2, grid_rows=2, record_bytes=96, verify="always")
    out = np.full((2, 3, 4), np.nan, dtype="<f4")
    place.fetch([shard.span(1, out.reshape(-1).view(np.uint8).data)])
    assert not out.any()
