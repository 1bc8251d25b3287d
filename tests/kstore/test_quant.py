"""Plain quantisers: exact where they promise it, loud where they can't be."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kmem.errors import ConfigError, UnknownNameError
from kmem.kstore.quant import QUANTISERS, load_quantiser, quantiser

HALF_ULP = {"fp32": 0.0, "fp16": 2.0**-11, "bf16": 2.0**-8}
SMALLEST = {"fp32": 0.0, "fp16": 2.0**-25, "bf16": 2.0**-134}


@pytest.mark.parametrize("name", QUANTISERS)
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


@pytest.mark.parametrize("name", QUANTISERS)
def test_a_payload_of_the_stored_type_is_kept_bit_by_bit(name: str) -> None:
    codec = quantiser(name)
    kv = codec.decode(codec.encode(torch.randn(4, 2, 7, 3)))
    assert torch.equal(codec.decode(codec.encode(kv)), kv)


@pytest.mark.parametrize("name", QUANTISERS)
def test_config_survives_json(name: str) -> None:
    codec = quantiser(name)
    assert load_quantiser(json.loads(json.dumps(codec.to_dict()))) == codec


@pytest.mark.parametrize(("name", "value"), [("fp16", 65505.0), ("fp16", -70000.0), ("bf16", float("inf")), ("fp32", float("nan"))])
def test_a_value_out_of_range_is_named(name: str, value: float) -> None:
    kv = torch.zeros(2, 2, 3, 4)
    kv[1, 0, 2, 3] = value
    with pytest.raises(ConfigError, match=f"{value:g}".replace("+", r"\+")):
        quantiser(name).encode(kv)


def test_bfloat16_overflow_by_rounding_is_refused() -> None:
    with pytest.raises(ConfigError):
        quantiser("bf16").encode(torch.full((1, 2, 1, 1), torch.finfo(torch.float32).max))


def test_largest_half_is_kept() -> None:
    codec = quantiser("fp16")
    assert float(codec.decode(codec.encode(torch.full((1, 2, 1, 1), 65504.0))).max()) == 65504.0


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="bf16, fp16, fp32"):
        quantiser("fp4")
