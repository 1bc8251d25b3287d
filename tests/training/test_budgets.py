"""Real budgets: sums are kept, bounds are kept, whole tokens come out."""

import pytest
import torch

from kmem.training.budgets import project, soft_gates, whole


@pytest.mark.parametrize("total", [1.0, 17.0, 500.0, 1500.0])
def test_projection_keeps_sum_and_bounds(total: float) -> None:
    budgets = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)) * 60 + 40
    projected = project(budgets, total)
    assert float(projected.sum()) == pytest.approx(total, abs=1e-2)
    assert float(projected.min()) >= 0
    assert float(projected.max()) <= 128
    inside = (projected > 0) & (projected < 128)
    moved = (projected - budgets)[inside]
    if len(moved) > 1:
        assert float(moved.max() - moved.min()) < 1e-3  # all by the same amount


def test_whole_tokens_sum_to_the_total_and_stay_near() -> None:
    budgets = torch.tensor([[10.4, 0.0], [127.9, 3.3], [0.2, 58.2]])
    rounded = whole(budgets, 200)
    assert sum(map(sum, rounded)) == 200
    assert float((torch.tensor(rounded) - budgets).abs().max()) <= 1
    assert whole(torch.full((2, 2), 128.0), 512) == ((128, 128), (128, 128))


def test_soft_gates_become_hard() -> None:
    gates = soft_gates(torch.tensor([[5.0, 0.0]]), 0.01)[0, 0]
    assert gates[0].round().int().tolist() == [1] * 5 + [0] * 123
    assert gates[1].round().int().sum() == 0
