"""The naive kernel against transformers' attention, and every other kernel against the naive one."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kmem.errors import ConfigError
from kmem.kernels.memory_attention import LayerMemory, PlainSlots, Segments, cpu, dense, naive, step, triton
from kmem.kernels.memory_attention import context as context_module
from kmem.kernels.memory_attention.layout import Prepare, causal_mask

HEADS, GROUP, DIM, BRACKET = 3, 2, 16, 4
RAGGED = (0, 5, 37)
KERNELS = pytest.mark.parametrize("prepare", [naive.prepare, dense.prepare, cpu.prepare], ids=["naive", "dense", "cpu"])
STATES, MEMORIES = ("query", "key", "value"), ("slot_key", "slot_value", "bracket_key", "bracket_value")
RELATIVE_ERROR = {torch.float32: 1e-5, torch.bfloat16: 1e-3}


def noise(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def layer_memory(
    memories: int = 6, *, budget: Sequence[int] = RAGGED, bracket: int = BRACKET, dtype: torch.dtype = torch.float64, empty: float = 1e30
) -> LayerMemory:
    """Memories of which every head's last slot is sometimes empty, and then holds `empty`."""
    slots, starts = sum(budget), [sum(budget[:head]) for head in range(len(budget))]
    filled = torch.ones(memories, slots, dtype=torch.bool)
    for head, tokens in enumerate(budget):
        if tokens > 1:
            filled[::2, starts[head] + tokens - 1] = False
    key, value = (noise(memories, slots, DIM, seed=seed, dtype=dtype).masked_fill(~filled[..., None], empty) for seed in (1, 2))
    return LayerMemory(
        slots=PlainSlots(key=key, value=value),
        filled=filled,
        budget=tuple(budget),
        bracket_key=noise(len(budget), bracket, DIM, seed=3, dtype=dtype),
        bracket_value=noise(len(budget), bracket, DIM, seed=4, dtype=dtype),
    )


def segments(runs: Sequence[tuple[int, int, int, Sequence[int]]]) -> Segments:
    widest = max(len(read) for *_, read in runs)
    return Segments(
        row=tuple(run[0] for run in runs),
        first=tuple(run[1] for run in runs),
        last=tuple(run[2] for run in runs),
        resident=torch.tensor([[*read, *[-1] * (widest - len(read))] for *_, read in runs]),
    )


def chunked(batch: int, length: int, every: int = 64, memories: int = 6) -> Segments:
    """Every chunk of every row with two memories of its own; in all rows but the first one less, and a gap before them."""
    runs = []
    for row in range(batch):
        for first in range(row if length > 1 else 0, length, every):
            read = [(row + first) % memories, (row + first // every + 3) % memories, (first // every + 1) % memories]
            runs.append((row, first, min(first + every, length), tuple(dict.fromkeys(read))[: 3 if row == 0 else 2]))
    return segments(runs)


def states(batch: int, length: int, keys: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key, value as transformers gives them: transposed views."""
    query = noise(batch, length, HEADS * GROUP, DIM, seed=5, dtype=dtype).transpose(1, 2)
    key, value = (noise(batch, keys, HEADS, DIM, seed=seed, dtype=dtype).transpose(1, 2) for seed in (6, 7))
    return query, key, value


def left_padded(batch: int, length: int, keys: int) -> Tensor:
    """[B, 1, q, n] causal, row r without its first r columns."""
    mask = causal_mask(length, keys, torch.device("cpu")).repeat(batch, 1, 1, 1)
    for row in range(batch):
        mask[row, :, :, :row] = False
    return mask


@pytest.mark.parametrize("length", [1, 63, 64, 65])
def test_naive_equals_scaled_dot_product_attention(length: int) -> None:
    memory, (query, key, value) = layer_memory(budget=(9, 9, 9)), states(2, length, 80)
    read = segments([(row, 0, length, (row, row + 2)) for row in range(2)])
    output, mass = naive.prepare(memory, read)(query, key, value, None, scaling=0.3, softcap=None)
    own = torch.tensor([[0, 2], [1, 3]])
    slots = [part[own].view(2, 2, HEADS, 9, DIM).transpose(1, 2).flatten(2, 3) for part in memory.slots.decoded()]
    keys, values = (
        torch.cat([bracket.expand(2, -1, -1, -1), part, context], dim=2).repeat_interleave(GROUP, dim=1)
        for bracket, part, context in zip((memory.bracket_key, memory.bracket_value), slots, (key, value), strict=True)
    )
    seen = memory.filled[own].view(2, 2, HEADS, 9).transpose(1, 2).flatten(2, 3)
    beside = torch.cat([torch.ones(2, HEADS, BRACKET, dtype=torch.bool), seen], dim=-1)[:, :, None].expand(-1, -1, length, -1)
    mask = torch.cat([beside, causal_mask(length, 80, query.device).expand(2, HEADS, -1, -1)], dim=-1).repeat_interleave(GROUP, dim=1)
    expected = torch.nn.functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=0.3)
    torch.testing.assert_close(output, expected.transpose(1, 2), rtol=1e-12, atol=1e-12)
    assert mass.shape == (2, 2)


@pytest.mark.parametrize("masked", [False, True], ids=["causal", "left padded"])
@pytest.mark.parametrize("budget", [RAGGED, (8, 8, 8), (0, 0, 0), (1, 0, 90)], ids=str)
@pytest.mark.parametrize(
    ("batch", "length", "keys"), [(1, 1, 70), (3, 1, 70), (3, 63, 63), (2, 64, 64), (3, 65, 100), (2, 128, 128), (1, 1000, 1000)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("prepare", [dense.prepare, cpu.prepare], ids=["dense", "cpu"])
def test_each_equals_naive(
    prepare: Prepare, dtype: torch.dtype, batch: int, length: int, keys: int, budget: tuple[int, ...], masked: bool
) -> None:
    memory, read, (query, key, value) = layer_memory(budget=budget, dtype=dtype), chunked(batch, length), states(batch, length, keys, dtype)
    mask = left_padded(batch, length, keys) if masked else None
    arguments = (query, key, value, mask)
    expected, expected_mass = naive.prepare(memory, read)(*arguments, scaling=0.4, softcap=None)
    output, mass = prepare(memory, read)(*arguments, scaling=0.4, softcap=None)
    assert output.dtype == dtype
    assert output.shape == (batch, length, HEADS * GROUP, DIM)
    seen = torch.ones(batch, length, dtype=torch.bool) if mask is None else mask[:, 0].any(-1)
    require_close(output[seen], expected[seen], dtype)
    require_close(mass, expected_mass, dtype)


def require_close(output: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert bool(output.isfinite().all())
    error, size = (output.double() - expected.double()).norm(), expected.double().norm()
    assert float(error) <= RELATIVE_ERROR[dtype] * float(size), float(error / size)


@pytest.mark.parametrize("masked", [False, True], ids=["causal", "left padded"])
@pytest.mark.parametrize(("length", "keys"), [(64, 64), (65, 65), (65, 100)])
@pytest.mark.parametrize("bracket", [0, 1, BRACKET])
@pytest.mark.parametrize("prepare", [dense.prepare, cpu.prepare], ids=["dense", "cpu"])
def test_prompts_whose_every_column_reads(prepare: Prepare, bracket: int, length: int, keys: int, masked: bool) -> None:
    """Rows alike, as most batches are: from their first token on, and after 35 others."""
    runs = [(row, first, min(first + 64, length), (row, 2 + first // 64)) for row in range(2) for first in range(0, length, 64)]
    memory, read, arguments = layer_memory(bracket=bracket), segments(runs), states(2, length, keys)
    mask = left_padded(2, length, keys) if masked else None
    expected, expected_mass = naive.prepare(memory, read)(*arguments, mask, scaling=0.4, softcap=None)
    output, mass = prepare(memory, read)(*arguments, mask, scaling=0.4, softcap=None)
    seen = torch.ones(2, length, dtype=torch.bool) if mask is None else mask[:, 0].any(-1)
    torch.testing.assert_close(output[seen], expected[seen], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(mass, expected_mass, rtol=1e-9, atol=1e-9)


@KERNELS
@pytest.mark.parametrize("empty", [1e200, float("nan")])
@pytest.mark.parametrize("length", [1, 5])
def test_what_is_masked_may_hold_anything(prepare: Prepare, length: int, empty: float) -> None:
    """Empty slots and memories that a segment does not read move nothing, NaN included."""
    query, key, value = states(2, length, 5)
    read = segments([(0, 0, length, (1, 2)), (1, min(1, length - 1), length, (0,))])
    results = [prepare(layer_memory(empty=fill), read)(query, key, value, None, scaling=0.4, softcap=None) for fill in (0.0, empty)]
    assert all(torch.equal(clean, dirty) for clean, dirty in zip(*results, strict=True))


@KERNELS
@pytest.mark.parametrize("length", [1, 70])
@pytest.mark.parametrize("longer", [(0, 1), (3, 0), (2, 2)], ids=["values", "keys", "both"])
def test_slots_may_be_views_into_longer_records(prepare: Prepare, longer: tuple[int, int], length: int) -> None:
    query, key, value = states(2, length, 70)
    memory, read = layer_memory(), segments([(0, 0, 1, (4, 1)), (1, 0, length, (5, 0, 2))])
    key_slots, value_slots = memory.slots.decoded()

    def view(slots: Tensor, more: int) -> Tensor:
        return torch.cat([torch.full_like(slots[:, :1], torch.nan).expand(-1, more, -1), slots], dim=1)[:, more:]

    viewed = replace(memory, slots=PlainSlots(key=view(key_slots, longer[0]), value=view(value_slots, longer[1])))
    expected, found = (prepare(each, read)(query, key, value, None, scaling=0.4, softcap=None) for each in (memory, viewed))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other)


@KERNELS
def test_columns_in_no_segment_see_the_context_alone(prepare: Prepare) -> None:
    query, key, value = states(1, 9, 9)
    output, _ = prepare(layer_memory(), segments([(0, 3, 6, (0, 1))]))(query, key, value, None, scaling=0.4, softcap=None)
    alone = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.4, enable_gqa=True).transpose(1, 2)
    torch.testing.assert_close(output[:, [0, 1, 2, 6, 7, 8]], alone[:, [0, 1, 2, 6, 7, 8]])
    assert not torch.allclose(output[:, 3:6], alone[:, 3:6])


@KERNELS
def test_a_query_that_sees_nothing_gets_finite_numbers(prepare: Prepare) -> None:
    """Left padding: such a row is never used, but NaN in it would spread through the values of later layers."""
    query, key, value = states(1, 2, 5)
    nothing = torch.zeros(1, 1, 2, 5, dtype=torch.bool)
    output, mass = prepare(layer_memory(), segments([(0, 1, 2, (0,))]))(query, key, value, nothing, scaling=1.0, softcap=None)
    assert output.isfinite().all()
    assert mass.isfinite().all()


@KERNELS
def test_a_query_whose_context_is_masked_reads_its_memories_alone(prepare: Prepare) -> None:
    query, key, value = states(1, 1, 5)
    nothing = torch.zeros(1, 1, 1, 5, dtype=torch.bool)
    read = segments([(0, 0, 1, (0, 1))])
    masked, _ = prepare(layer_memory(), read)(query, key, value, nothing, scaling=1.0, softcap=None)
    none, _ = prepare(layer_memory(), read)(query, key[:, :, :0], value[:, :, :0], None, scaling=1.0, softcap=None)
    torch.testing.assert_close(masked, none)


@KERNELS
def test_mass_is_the_probability_on_the_slots(prepare: Prepare) -> None:
    budget = (2, 3, 0)
    zeros = LayerMemory(
        slots=PlainSlots(key=torch.zeros(2, 5, DIM), value=torch.zeros(2, 5, DIM)),
        filled=torch.ones(2, 5, dtype=torch.bool),
        budget=budget,
        bracket_key=torch.zeros(3, 1, DIM),
        bracket_value=torch.zeros(3, 1, DIM),
    )
    query, context = torch.zeros(1, 6, 1, DIM), torch.zeros(1, 3, 4, DIM)
    _, mass = prepare(zeros, segments([(0, 0, 1, (1,))]))(query, context, context, None, scaling=1.0, softcap=None)
    torch.testing.assert_close(mass, torch.tensor([[GROUP * (2 / 7 + 3 / 8)]]))


@KERNELS
def test_softcap_bounds_the_logits(prepare: Prepare) -> None:
    query, key, value = states(1, 3, 5)
    memory = layer_memory(budget=(4, 4, 4))
    far = LayerMemory(
        slots=PlainSlots(key=memory.slots.decoded()[0] * 1e3, value=memory.slots.decoded()[1]),
        filled=torch.ones_like(memory.filled),
        budget=memory.budget,
        bracket_key=memory.bracket_key,
        bracket_value=memory.bracket_value,
    )
    read = segments([(0, 0, 3, (0, 1))])
    output, mass = prepare(far, read)(query * 1e3, key, value, None, scaling=1.0, softcap=2.0)
    expected, expected_mass = naive.prepare(far, read)(query * 1e3, key, value, None, scaling=1.0, softcap=2.0)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(mass, expected_mass)
    assert 0.1 < float(mass.sum()) / (3 * HEADS * GROUP) < 0.99  # uncapped, one key takes all


def test_without_torchs_private_kernel_the_answers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, read, arguments = layer_memory(), chunked(2, 65), (*states(2, 65, 70), left_padded(2, 65, 70))
    fast, _ = dense.prepare(memory, read)(*arguments, scaling=0.4, softcap=None)
    assert context_module._flash() is not None  # else this compares the fallback with itself
    monkeypatch.setattr(context_module, "_flash", lambda: None)
    plain, _ = dense.prepare(memory, read)(*arguments, scaling=0.4, softcap=None)
    assert not torch.equal(fast, plain)
    torch.testing.assert_close(fast, plain)


def test_long_prompts_are_taken_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, read, arguments = layer_memory(), segments([(0, 0, 300, (0, 1, 2))]), (*states(1, 300, 300), None)
    whole = dense.prepare(memory, read)(*arguments, scaling=0.4, softcap=None)
    monkeypatch.setattr(dense, "SCORE_BYTES", 1)
    for ours, theirs in zip(dense.prepare(memory, read)(*arguments, scaling=0.4, softcap=None), whole, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_no_bracket_is_fine() -> None:
    memory, read, arguments = layer_memory(bracket=0), chunked(2, 30, every=8), (*states(2, 30, 30), None)
    for ours, theirs in zip(
        *(prepare(memory, read)(*arguments, scaling=0.4, softcap=None) for prepare in (dense.prepare, naive.prepare)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_a_budget_that_does_not_fit_the_slots_is_refused() -> None:
    whole = layer_memory()
    with pytest.raises(ConfigError, match="has 41 slots, the layer 42"):
        LayerMemory(
            slots=whole.slots, filled=whole.filled, budget=(0, 5, 36), bracket_key=whole.bracket_key, bracket_value=whole.bracket_value
        )


@pytest.mark.parametrize("few_keys", [0, 4096], ids=["torch's context", "own context"])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_a_step_of_some_rows_equals_naive(few_keys: int, softcap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 1 reads nothing, row 2 is left-padded, row 3 reads less than the others."""
    monkeypatch.setattr(step, "FEW_KEYS", few_keys)
    memory, read = layer_memory(), segments([(0, 0, 1, (0, 1, 2)), (2, 0, 1, (5, 4, 0)), (3, 0, 1, (3,))])
    arguments = (*states(4, 1, 50), left_padded(4, 1, 50))
    for ours, theirs in zip(
        *(prepare(memory, read)(*arguments, scaling=0.4, softcap=softcap) for prepare in (step.prepare, naive.prepare)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_a_prompt_of_which_one_column_reads_is_no_step() -> None:
    memory, read, arguments = layer_memory(), segments([(0, 64, 65, (0, 1))]), (*states(1, 65, 65), None)
    found, expected = (prepare(memory, read)(*arguments, scaling=0.4, softcap=None) for prepare in (cpu.prepare, naive.prepare))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_pass_through() -> None:
    """Torch's private kernel gives no gradient for its log-sum-exp; leaving it out silently would train a model wrongly."""
    memory, read = layer_memory(memories=2, budget=(0, 2, 3)), segments([(0, 1, 4, (0, 1))])
    query, key, value = (part.clone().requires_grad_() for part in states(1, 5, 6))

    def output(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return dense.prepare(memory, read)(query, key, value, None, scaling=0.4, softcap=None)[0]

    assert torch.autograd.gradcheck(output, (query, key, value))


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize(
    ("prepare", "learnt"),
    [
        pytest.param(kernel.prepare, learnt, id=f"{name}-{learnt}")
        for name, kernel in (("dense", dense), ("cpu", cpu), ("triton", triton))
        for learnt in (*STATES, *MEMORIES)
    ],
)
def test_a_generated_column_has_the_gradients_of_the_naive_kernel(prepare: Prepare, learnt: str, softcap: float | None) -> None:
    """Whatever is being learnt, also where nothing else is: the compiled pass knows no gradients and must not be taken."""
    query, key, value = states(3, 1, 50)
    memory = layer_memory(empty=1.0)
    slot_key, slot_value = memory.slots.decoded()
    tensors = {"query": query, "key": key, "value": value, "slot_key": slot_key, "slot_value": slot_value}
    tensors |= {"bracket_key": memory.bracket_key, "bracket_value": memory.bracket_value}
    read, weights = segments([(0, 0, 1, (0, 1, 2)), (2, 0, 1, (5, 4))]), noise(3, 1, HEADS * GROUP, DIM, seed=8)

    def gradient(prepare: Prepare) -> Tensor:
        own = {name: tensor.detach().clone().requires_grad_(name == learnt) for name, tensor in tensors.items()}
        slots = PlainSlots(key=own["slot_key"], value=own["slot_value"])
        learning = replace(memory, slots=slots, bracket_key=own["bracket_key"], bracket_value=own["bracket_value"])
        attention = prepare(learning, read)
        mask = left_padded(3, 1, 50)
        output, _ = attention(own["query"], own["key"], own["value"], mask, scaling=0.4, softcap=softcap)
        (found,) = torch.autograd.grad((output * weights).sum(), own[learnt])
        return found

    expected = gradient(naive.prepare)
    assert float(expected.norm()) > 0.1
    torch.testing.assert_close(gradient(prepare), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("budget", [(5, 37, 5), (9, 4, 8)], ids=["the middle one first", "the outer ones first"])
def test_heads_that_lie_apart_are_learnt_through(budget: tuple[int, ...]) -> None:
    """Heads of similar budgets are read together, wherever they lie."""
    plan, (query, key, value) = segments([(0, 0, 3, [0, 2]), (0, 3, 7, [1])]), states(1, 7, 7)
    memory, weights = layer_memory(budget=budget, empty=0.0), noise(1, 7, HEADS * GROUP, DIM, seed=5)

    def gradients(prepare: Prepare) -> tuple[Tensor, ...]:
        slots = PlainSlots(key=memory.slots.key.clone().requires_grad_(), value=memory.slots.value.clone().requires_grad_())
        output, _ = prepare(replace(memory, slots=slots), plan)(query, key, value, None, scaling=0.3, softcap=None)
        return torch.autograd.grad((output * weights).sum(), (slots.key, slots.value))

    for found, expected in zip(gradients(dense.prepare), gradients(naive.prepare), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
