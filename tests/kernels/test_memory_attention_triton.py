"""The Triton attention against the naive one, in Triton's interpreter where there is no GPU. What it need not read is NaN."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from kmem.errors import ConfigError
from kmem.kernels.memory_attention.layout import LayerMemory, PlainSlots, Segments, Slots, causal_mask
from kmem.kernels.memory_attention.naive import prepare as naive
from kmem.kernels.memory_attention.quantised import Int8Slots, VqSlots
from kmem.kernels.memory_attention.triton import prepare
from kmem.kernels.vq_decode import rotated_table
from kmem.kstore.quant.family import family
from kmem.kstore.quant.int8 import Int8
from tests.kernels.test_vq_decode import books_of, codes_of

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-3, torch.float16: 1e-3}
NONE, SPLIT = 1, 10**6
"""Programs that are asked for: as few as there are row blocks, or as many as the keys can be split among."""

VQ_TABLES = {"vq16": torch.float16, "vq32": torch.float32}

NAN = float("nan")


@pytest.fixture(autouse=True)
def _uninitialised_memory_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def segments_of(*each: tuple[int, int, int, list[int]]) -> Segments:
    """(row, first, last, resident)."""
    most = max((len(item[3]) for item in each), default=0)
    return Segments(
        row=tuple(item[0] for item in each),
        first=tuple(item[1] for item in each),
        last=tuple(item[2] for item in each),
        resident=torch.tensor([[*item[3], *[-1] * (most - len(item[3]))] for item in each], dtype=torch.int64).view(len(each), most),
    )


def memory_of(budget: tuple[int, ...], memories: int, dim: int, dtype: torch.dtype = torch.float32, bracket: int = 3) -> LayerMemory:
    """Views into longer records, with every third slot or so empty."""
    records = random(memories, 2, sum(budget) + 4, dim, seed=1, dtype=dtype)[:, :, 2:-2]
    return LayerMemory(
        slots=PlainSlots(key=records[:, 0], value=records[:, 1]),
        filled=random(memories, sum(budget), seed=2) > -0.4,
        budget=budget,
        bracket_key=random(len(budget), bracket, dim, seed=3, dtype=dtype),
        bracket_value=random(len(budget), bracket, dim, seed=4, dtype=dtype),
    )


def poisoned(memory: LayerMemory, read: set[int]) -> LayerMemory:
    """NaN wherever nothing may be read: in empty slots, and in memories that no segment reads."""
    key, value = (part.clone() for part in memory.slots.decoded())
    unread = [place for place in range(len(key)) if place not in read]
    for part in (key, value):
        part[~memory.filled] = NAN
        part[unread] = NAN
    return dataclasses.replace(memory, slots=PlainSlots(key=key, value=value))


def wide(memory: LayerMemory) -> LayerMemory:
    key, value = (part.double() for part in memory.slots.decoded())
    return dataclasses.replace(memory, slots=PlainSlots(key=key, value=value))


def there(memory: LayerMemory) -> LayerMemory:
    """On the device; quantised slots are put there by their test."""
    key, value = (part.to(DEVICE) for part in memory.slots.decoded())
    moved = {name: getattr(memory, name).to(DEVICE) for name in ("filled", "bracket_key", "bracket_value")}
    return dataclasses.replace(memory, slots=PlainSlots(key=key, value=value), **moved)


def error(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    assert found.isfinite().all()
    return float((found.double() - expected).norm() / expected.norm().clamp(min=1e-30))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the model hands over: query [B, Q, q, D] and key, value [B, H, n, D], views as transformers makes them."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None = None

    def states(self, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value on the device; in another type, if one is named, they are made anew."""
        query, key, value = (state.to(device=DEVICE, dtype=dtype or state.dtype) for state in (self.query, self.key, self.value))
        return query, key, value


def inputs_of(batch: int, query_heads: int, heads: int, length: int, keys: int, dim: int, dtype: torch.dtype = torch.float32) -> Inputs:
    return Inputs(
        query=random(batch, length, query_heads, dim, seed=5, dtype=dtype).transpose(1, 2),
        key=random(batch, keys, heads, dim, seed=6, dtype=dtype).transpose(1, 2),
        value=random(batch, keys, heads, 2 * dim, seed=7, dtype=dtype)[..., dim:].transpose(1, 2),
    )


def check(inputs: Inputs, memory: LayerMemory, segments: Segments, *, programs: int = NONE, softcap: float | None = None) -> None:
    """Output before it is rounded, and mass, against the reference in float64; then the call itself."""
    scaling = inputs.query.shape[-1] ** -0.5
    mask = None if inputs.mask is None else inputs.mask.to(DEVICE)
    expected, mass = naive(wide(there(memory)), segments)(*inputs.states(torch.float64), mask, scaling=scaling, softcap=softcap)
    attention = prepare(there(poisoned(memory, set(segments.resident.flatten().tolist()))), segments)
    found, found_mass = attention.launch(
        *inputs.states(), mask, scaling=scaling, softcap=softcap, output_dtype=torch.float32, programs=programs
    )
    tolerance = TOLERANCE[inputs.query.dtype]
    assert error(found, expected) <= tolerance
    assert error(found_mass, mass) <= tolerance
    assert bool((found_mass.cpu()[segments.resident < 0] == 0).all())
    if inputs.query.dtype != torch.float32:
        rounded, _ = attention(*inputs.states(), mask, scaling=scaling, softcap=softcap)
        assert rounded.dtype == inputs.query.dtype
        assert error(rounded, expected) <= 2.0**-8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 63, 64, 65])
def test_equals_the_reference(length: int, dtype: torch.dtype) -> None:
    """Ragged budgets, one head with none; rows with several segments, with one, and with none."""
    half = length // 2
    first = [(0, 0, half, [3, 0]), (0, half, length, [1])] if half else [(0, 0, 1, [3, 0])]
    segments = segments_of(*first, (2, length // 3, length, [4, 1, 2]))
    check(inputs_of(3, 6, 3, length, length + 20, 12, dtype), memory_of((0, 5, 37), 6, 12, dtype), segments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_long_prompt(dtype: torch.dtype) -> None:
    segments = segments_of((0, 64, 128, [0]), (0, 500, 501, [1, 2]), (0, 960, 1000, [2]))
    check(inputs_of(1, 1, 1, 1000, 1000, 16, dtype), memory_of((8,), 3, 16, dtype), segments)


@pytest.mark.parametrize(
    ("keys", "length", "dtype"),
    [(3, 1, torch.float32), (65, 3, torch.bfloat16), (1000, 1, torch.float32), (1000, 1, torch.bfloat16), (1000, 3, torch.float32)],
)
def test_decoding_splits_the_keys(keys: int, length: int, dtype: torch.dtype) -> None:
    """Memories too are split: 8 of them with up to 37 slots a head."""
    segments = segments_of((0, 0, length, list(range(8))), (1, length - 1, length, [5]))
    check(inputs_of(2, 6, 2, length, keys, 20, dtype), memory_of((5, 37), 8, 20, dtype), segments, programs=SPLIT)


@pytest.mark.parametrize(
    ("query_heads", "heads", "dim", "programs"), [(10, 2, 80, SPLIT), (3, 3, 64, NONE), (4, 1, 12, NONE), (5, 1, 256, NONE)]
)
def test_every_shape_of_heads(query_heads: int, heads: int, dim: int, programs: int) -> None:
    segments = segments_of((0, 2, 7, [0, 2]), (1, 0, 9, [1]))
    check(inputs_of(2, query_heads, heads, 9, 270, dim), memory_of((8,) * heads, 3, dim), segments, programs=programs)


@pytest.mark.parametrize(
    ("which", "programs", "dtype"),
    [
        ("padded", NONE, torch.float32),
        ("window", NONE, torch.float16),
        ("window", SPLIT, torch.float32),
        ("scattered", NONE, torch.float32),
    ],
)
def test_a_mask_is_obeyed_whatever_its_strides(which: str, programs: int, dtype: torch.dtype) -> None:
    """Left padding; a sliding window, one for all rows; and anything, not even contiguous."""
    causal = causal_mask(40, 260, torch.device("cpu"))
    padded = causal.repeat(2, 1, 1, 1)
    padded[1, ..., :130] = False
    scattered = (random(2, 40, 260, 2, seed=8) > 0)[..., 0][:, None]
    mask = {"padded": padded, "window": causal & ~causal.roll(-30, -1), "scattered": scattered}[which]
    segments = segments_of((0, 0, 32, [0, 1]), (0, 32, 40, [2]), (1, 6, 40, [3]))
    check(
        dataclasses.replace(inputs_of(2, 4, 2, 40, 260, 16, dtype), mask=mask), memory_of((8, 0), 4, 16, dtype), segments, programs=programs
    )


@pytest.mark.parametrize("length", [1, 40])
def test_no_mask_is_the_causal_one_bit_for_bit(length: int) -> None:
    inputs, memory, segments = inputs_of(2, 4, 2, length, 90, 16), there(memory_of((8, 8), 2, 16)), segments_of((1, 0, length, [1]))
    without = prepare(memory, segments)(*inputs.states(), None, scaling=0.25, softcap=None)
    spelt_out = prepare(memory, segments)(*inputs.states(), causal_mask(length, 90, DEVICE), scaling=0.25, softcap=None)
    assert torch.equal(without[0], spelt_out[0])
    assert torch.equal(without[1], spelt_out[1])


@pytest.mark.parametrize("programs", [NONE, SPLIT])
def test_softcap(programs: int) -> None:
    inputs = inputs_of(1, 4, 2, 5, 270, 16)
    inputs = dataclasses.replace(inputs, query=inputs.query * 20)
    check(inputs, memory_of((8, 8), 2, 16), segments_of((0, 1, 5, [0, 1])), programs=programs, softcap=3.0)


@pytest.mark.parametrize("programs", [NONE, SPLIT])
@pytest.mark.parametrize("memories", [1, 40])
def test_any_number_of_memories(memories: int, programs: int) -> None:
    segments = segments_of((0, 0, 70, list(range(memories))[::-1]))
    check(inputs_of(1, 4, 1, 70, 80, 16), memory_of((3,), memories, 16), segments, programs=programs)


def test_memories_in_another_type_than_the_model_s() -> None:
    segments = segments_of((0, 0, 5, [1, 0]))
    for dtype in (torch.float16, torch.float32):
        check(inputs_of(1, 4, 2, 5, 70, 16, torch.bfloat16), memory_of((9, 2), 2, 16, dtype), segments)


@pytest.mark.parametrize("programs", [NONE, SPLIT])
def test_a_query_that_sees_nothing_gets_finite_numbers(programs: int) -> None:
    inputs, nothing = inputs_of(1, 2, 1, 2, 600, 8), torch.zeros(1, 1, 2, 600, dtype=torch.bool, device=DEVICE)
    attention = prepare(there(memory_of((2,), 1, 8)), segments_of((0, 1, 2, [0])))
    output, mass = attention.launch(*inputs.states(), nothing, scaling=1.0, softcap=None, output_dtype=torch.float32, programs=programs)
    assert output.isfinite().all()
    assert bool((mass > 0).all())


@pytest.mark.parametrize("budget", [(0, 0), (4, 0)])
@pytest.mark.parametrize("bracket", [0, 20])
def test_a_layer_may_have_no_slots_and_a_bracket_any_length(bracket: int, budget: tuple[int, ...]) -> None:
    check(inputs_of(1, 4, 2, 5, 9, 8), memory_of(budget, 2, 8, bracket=bracket), segments_of((0, 0, 4, [1])))


def test_nothing_is_rearranged_between_calls() -> None:
    """The records are read in place: what is written into them later is read."""
    memory, inputs = there(memory_of((8, 8), 2, 16)), inputs_of(1, 4, 2, 1, 9, 16)
    attention = prepare(memory, segments_of((0, 0, 1, [1])))
    before, _ = attention(*inputs.states(), None, scaling=0.25, softcap=None)
    memory.slots.decoded()[1].zero_()
    after, _ = attention(*inputs.states(), None, scaling=0.25, softcap=None)
    assert not torch.equal(before, after)


def int8_slots(memories: int, slots: int, dim: int) -> Slots:
    records = torch.from_numpy(Int8().encode(random(memories, 2, slots + 2, dim, seed=9) * 3)).to(DEVICE)[:, :, 2:]
    exact = Int8().decode(records.cpu().numpy())
    found = Int8Slots(key=records[:, 0], value=records[:, 1])
    for part, wanted in zip(found.decoded(), exact.unbind(1), strict=True):
        assert torch.equal(part.cpu(), wanted)
    return found


def vq_slots(memories: int, slots: int, dim: int, dtype: torch.dtype) -> Slots:
    one = books_of(family(dim, 999))
    table = rotated_table([one, dataclasses.replace(one, coarse=one.coarse * 2)], dtype, DEVICE)
    codes = codes_of(one, memories * 2 * (slots + 2)).view(memories, 2, slots + 2, -1).to(DEVICE)[:, :, 2:]
    sets = (torch.arange(slots, dtype=torch.int32) % 2).to(DEVICE)
    return VqSlots(key=codes[:, 0], value=codes[:, 1], table=table, key_sets=sets, value_sets=1 - sets)


@pytest.mark.parametrize("programs", [NONE, SPLIT])
@pytest.mark.parametrize(
    ("kind", "dtype"), [("int8", torch.float32), ("int8", torch.bfloat16), ("vq16", torch.bfloat16), ("vq32", torch.float32)]
)
def test_quantised_memories_are_decoded_in_the_kernel(kind: str, dtype: torch.dtype, programs: int) -> None:
    budget, dim = (0, 37), 16
    slots = int8_slots(4, sum(budget), dim) if kind == "int8" else vq_slots(4, sum(budget), dim, VQ_TABLES[kind])
    memory = dataclasses.replace(there(memory_of(budget, 4, dim, dtype)), slots=slots)
    inputs, segments = inputs_of(2, 4, 2, 3, 270, dim, dtype), segments_of((0, 0, 2, [3, 1]), (1, 0, 3, [0]))
    expected, mass = naive(wide(memory), segments)(*inputs.states(torch.float64), None, scaling=0.25, softcap=None)
    found, found_mass = prepare(memory, segments).launch(
        *inputs.states(), None, scaling=0.25, softcap=None, output_dtype=torch.float32, programs=programs
    )
    assert error(found, expected) <= TOLERANCE[dtype]
    assert error(found_mass, mass) <= TOLERANCE[dtype]


def test_float64_is_refused() -> None:
    query, key, value = (torch.zeros(1, 1, 1, 8, dtype=torch.float64, device=DEVICE) for _ in range(3))
    with pytest.raises(ConfigError, match=r"too little for torch\.float64"):
        prepare(there(memory_of((2,), 1, 8)), segments_of((0, 0, 1, [0])))(query, key, value, None, scaling=1.0, softcap=None)


@pytest.mark.slow
def test_it_compiles_for_a_gpu_that_is_not_here() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_DEFAULT_FP_FUSION": "1"}
    subprocess.run([sys.executable, "-m", "tests.kernels.compiled"], env=environment, check=True)
