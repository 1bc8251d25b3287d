"""Quantisers: as exact as they promise, loud where they can't be. What only `vq` does is in test_vq.py."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kmem.errors import ConfigError, CorruptBankError, UnknownNameError, UntrainedQuantiserError
from kmem.kstore.bank import open_bank
from kmem.kstore.quant import QUANTISERS, load_quantiser, quantiser
from tests.kstore.kit import NgramEmbedder, tiny_codec, write_bank

HALF_ULP = {"fp32": 0.0, "fp16": 2.0**-11, "bf16": 2.0**-8}
SMALLEST = {"fp32": 0.0, "fp16": 2.0**-25, "bf16": 2.0**-134}


@pytest.mark.parametrize("name", HALF_ULP)
@given(values=hnp.arrays(np.float32, (3, 2, 5, 4), elements=st.floats(-60000, 60000, width=32)))
def test_round_trip_error_is_at_most_half_an_ulp(name: str, values: np.ndarray) -> None:
    kv = torch.from_numpy(values)
    codec = quantiser(name)
    records = codec.encode(kv)
    assert records.shape == (3, *codec.record_shape(5, 4))
    assert records.dtype == codec.record_dtype()
    decoded = codec.decode(records)
    assert decoded.shape == kv.shape
    error = (decoded.double() - kv.double()).abs()
    assert bool((error <= HALF_ULP[name] * kv.double().abs() + SMALLEST[name]).all())


@given(values=hnp.arrays(np.float32, (3, 2, 5, 4), elements=st.floats(-65504, 65504, width=32)))
def test_int8_error_is_at_most_half_a_step(values: np.ndarray) -> None:
    """A step is a 127th of the vector's largest number, rounded up to a float16; decoding to float16 adds half an ulp of its own."""
    codec, kv = quantiser("int8"), torch.from_numpy(values)
    records = codec.encode(kv)
    assert records.shape == (3, *codec.record_shape(5, 4)) == (3, 2, 5, 6)
    assert records.dtype == codec.record_dtype() == np.uint8
    decoded = codec.decode(records)
    assert decoded.dtype == torch.float16
    step = kv.double().abs().amax(-1, keepdim=True) / 127 * (1 + 2.0**-10) + 2.0**-24
    error = (decoded.double() - kv.double()).abs()
    assert bool((error <= step / 2 + HALF_ULP["fp16"] * decoded.double().abs() + SMALLEST["fp16"]).all())


def test_int8_scales_do_not_mix() -> None:
    """A huge key leaves the other slots, and the value of its own slot, as exact as before."""
    codec, kv = quantiser("int8"), torch.randn(2, 2, 3, 8, generator=torch.Generator().manual_seed(0))
    before = codec.decode(codec.encode(kv))
    kv[1, 0, 2] *= 1e4
    after = codec.decode(codec.encode(kv))
    same = torch.ones(2, 2, 3, dtype=torch.bool)
    same[1, 0, 2] = False
    assert torch.equal(before[same], after[same])


@pytest.mark.parametrize("name", HALF_ULP)
def test_a_payload_of_the_stored_type_is_kept_bit_by_bit(name: str) -> None:
    codec = quantiser(name)
    kv = codec.decode(codec.encode(torch.randn(4, 2, 7, 3)))
    assert torch.equal(codec.decode(codec.encode(kv)), kv)


@pytest.mark.parametrize("name", QUANTISERS)
def test_config_survives_json(name: str) -> None:
    codec = tiny_codec(name)
    assert load_quantiser(json.loads(json.dumps(codec.to_dict())), codec.tensors()) == codec


OUT_OF_RANGE = [
    ("fp16", 65520.0),
    ("fp16", -70000.0),
    ("bf16", float("inf")),
    ("fp32", float("nan")),
    ("int8", 65505.0),
    ("int8", float("nan")),
    ("vq", -70000.0),
    ("vq", float("nan")),
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_named(name: str, value: float) -> None:
    kv = torch.zeros(2, 2, 6, 8)
    kv[1, 0, 2, 3] = value
    with pytest.raises(ConfigError, match=f"{value:g}".replace("+", r"\+")):
        tiny_codec(name).encode(kv)


def test_bfloat16_overflow_by_rounding_is_refused() -> None:
    with pytest.raises(ConfigError):
        quantiser("bf16").encode(torch.full((1, 2, 1, 1), torch.finfo(torch.float32).max))


@pytest.mark.parametrize(("name", "decoded"), [("fp16", 65504.0), ("int8", 65472.0)])
def test_largest_half_stays_finite(name: str, decoded: float) -> None:
    codec = quantiser(name)
    assert float(codec.decode(codec.encode(torch.full((1, 2, 1, 1), 65504.0))).max()) == decoded


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="bf16, fp16, fp32, int8, vq"):
        quantiser("fp4")


def test_vq_untrained_says_how_to_train_it() -> None:
    with pytest.raises(UntrainedQuantiserError, match=r"--quantiser fp16, then .* `kmem convert --quant vq`"):
        quantiser("vq")


@dataclass(frozen=True)
class Codebook:
    """Every number becomes the index of the nearest entry of a trained table: the smallest quantiser that needs a file of its own."""

    table: tuple[float, ...] = (-1.0, 0.0, 1.0)
    name: str = "codebook"
    element: str = "uint8"

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name}

    def tensors(self) -> Mapping[str, torch.Tensor]:
        return {"table": torch.tensor(self.table)}

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> "Codebook":
        return cls(table=tuple(tensors["table"].tolist()))

    def record_shape(self, slots: int, head_dim: int) -> tuple[int, ...]:
        return (2, slots, head_dim)

    def record_dtype(self) -> np.dtype[Any]:
        return np.dtype("u1")

    def encode(self, kv: torch.Tensor) -> np.ndarray:
        nearest = (kv.float()[..., None] - torch.tensor(self.table)).abs().argmin(-1)
        records: np.ndarray = nearest.to(torch.uint8).numpy()
        return records

    def decode(self, records: np.ndarray) -> torch.Tensor:
        return torch.tensor(self.table)[torch.from_numpy(records).long()]


def test_what_a_quantiser_was_trained_to_lies_beside_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(QUANTISERS, "codebook", Codebook)
    codec = Codebook(table=(-0.5, 0.25, 2.0))
    write_bank(tmp_path / "bank", codec=codec)
    with open_bank(tmp_path / "bank", NgramEmbedder()) as bank:
        assert bank.quantiser == codec
        assert bank.verify() == len(bank.manifest.files)
        assert set(bank.read(bank.ids[:2].tolist()).kv.flatten().tolist()) <= set(codec.table)
    trained = tmp_path / "bank" / "quantiser.safetensors"
    data = bytearray(trained.read_bytes())
    data[-1] ^= 1
    trained.write_bytes(data)
    with pytest.raises(CorruptBankError, match=r"quantiser\.safetensors was altered"):
        open_bank(tmp_path / "bank")
