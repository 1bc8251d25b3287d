"""The naive kernel against transformers' own attention, and the corner cases every faster kernel will have to meet."""

import pytest
import torch
from torch import Tensor

from kmem.kernels.memory_attention import memory_attention


def states(batch: int, heads: int, tokens: int, dim: int = 8, *, seed: int = 0) -> Tensor:
    return torch.randn(batch, heads, tokens, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def causal(batch: int, length: int, keys: int) -> Tensor:
    return (torch.arange(keys)[None] <= torch.arange(length)[:, None] + keys - length).expand(batch, 1, length, keys)


@pytest.mark.parametrize("slots", [0, 1, 37])
@pytest.mark.parametrize("length", [1, 63, 64, 65])
def test_equals_scaled_dot_product_attention(length: int, slots: int) -> None:
    query, key, value = states(2, 6, length), states(2, 2, 80, seed=1), states(2, 2, 80, seed=2)
    memory_key, memory_value = states(2, 2, slots, seed=3), states(2, 2, slots, seed=4)
    seen = torch.rand(2, 2, length, slots, generator=torch.Generator().manual_seed(5)) < 0.5
    context = causal(2, length, 80)
    output, mass = memory_attention(query, key, value, context, memory_key, memory_value, seen, scaling=0.3)
    mask = torch.cat([seen, context.expand(2, 2, length, 80)], dim=-1).repeat_interleave(3, dim=1)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query,
        torch.cat([memory_key, key], 2).repeat_interleave(3, dim=1),
        torch.cat([memory_value, value], 2).repeat_interleave(3, dim=1),
        attn_mask=mask,
        scale=0.3,
    )
    torch.testing.assert_close(output, expected.transpose(1, 2), rtol=1e-12, atol=1e-12)
    assert mass.shape == (2, 2, length, slots)
    assert float((mass * ~seen).sum()) == 0


def test_what_is_masked_may_hold_anything_finite() -> None:
    """Empty slots are zero and padding is garbage; neither may move a result."""
    query, key, value = states(1, 2, 3), states(1, 1, 5, seed=1), states(1, 1, 5, seed=2)
    memory_key, memory_value = states(1, 1, 4, seed=3), states(1, 1, 4, seed=4)
    seen = torch.tensor([True, False, True, False]).expand(1, 1, 3, 4)
    context = causal(1, 3, 5)
    clean, _ = memory_attention(query, key, value, context, memory_key, memory_value, seen, scaling=1.0)
    memory_key[..., [1, 3], :], memory_value[..., [1, 3], :] = 1e200, -1e200
    dirty, _ = memory_attention(query, key, value, context, memory_key, memory_value, seen, scaling=1.0)
    assert torch.equal(clean, dirty)


def test_a_query_that_sees_nothing_gets_finite_numbers() -> None:
    """Left padding: such a row is never used, but NaN in it would spread through the values of later layers."""
    nothing = torch.zeros(1, 1, 2, 5, dtype=torch.bool)
    output, _ = memory_attention(
        states(1, 2, 2), states(1, 1, 5), states(1, 1, 5), nothing, states(1, 1, 3), states(1, 1, 3), nothing[..., :3], scaling=1.0
    )
    assert output.isfinite().all()


def test_mass_is_the_probability_on_the_slots() -> None:
    zeros = torch.zeros(1, 2, 1, 8)  # all logits equal: 3 slots among 3 + 5 keys get 3/8 from each of the two query heads
    _, mass = memory_attention(
        zeros,
        zeros[:, :1].expand(1, 1, 5, 8),
        zeros[:, :1].expand(1, 1, 5, 8),
        causal(1, 1, 5),
        zeros[:, :1].expand(1, 1, 3, 8),
        zeros[:, :1].expand(1, 1, 3, 8),
        torch.ones(1, 1, 1, 3, dtype=torch.bool),
        scaling=1.0,
    )
    torch.testing.assert_close(mass, torch.full((1, 1, 1, 3), 2 / 8))


def test_softcap_bounds_the_logits() -> None:
    query, key, value = states(1, 2, 1) * 100, states(1, 2, 5, seed=1), states(1, 2, 5, seed=2)
    empty = states(1, 2, 0)
    output, _ = memory_attention(query, key, value, causal(1, 1, 5), empty, empty, torch.ones(1, 2, 1, 0) > 0, scaling=1.0, softcap=2.0)
    logits = 2.0 * torch.tanh(query @ key.transpose(-1, -2) / 2.0)
    torch.testing.assert_close(output, (logits.softmax(-1) @ value).transpose(1, 2))


def test_low_precision_is_summed_in_float32() -> None:
    arguments = (states(1, 2, 4), states(1, 1, 900, seed=1), states(1, 1, 900, seed=2))
    memory = (states(1, 1, 70, seed=3), states(1, 1, 70, seed=4))
    masks = (torch.ones(1, 1, 4, 900) > 0, torch.ones(1, 1, 4, 70) > 0)
    rough = [tensor.bfloat16() for tensor in (*arguments, *memory)]
    exact, output = (
        memory_attention(q, k, v, masks[0], memory_k, memory_v, masks[1], scaling=0.35)[0]
        for q, k, v, memory_k, memory_v in ([tensor.double() for tensor in rough], rough)
    )
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.double(), exact, rtol=2**-8, atol=2**-10)
