"""What is stored: by a total order that ignores rounding, the same however tokens arrive."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kmem.models.bmojo.choice import choose, gather, keep_all
from kmem.models.bmojo.innovation import average_before, prediction_error, read_out_before
from kmem.models.bmojo.priority import EMPTY, by_age, by_chance, by_error, positions


def errors(length: int, seed: int = 0) -> Tensor:
    """Of two rows, with many ties."""
    return torch.randint(0, 9, (2, length), generator=torch.Generator().manual_seed(seed)) / 4


@pytest.mark.parametrize("size", [1, 7, 30, 64])
@pytest.mark.parametrize("cut", [0, 1, 13, 50])
def test_top_m_of_a_prefix_is_top_m_of_store_and_chunk(size: int, cut: int) -> None:
    error = errors(50)
    free = torch.full((2, size), EMPTY)
    _, (whole,) = (part.unbind(1) for part in choose(free, by_error(error, 0, None), [50]))
    _, (held,) = (part.unbind(1) for part in choose(free, by_error(error[:, :cut], 0, None), [cut]))
    _, (after,) = (part.unbind(1) for part in choose(held, by_error(error[:, cut:], cut, None), [50 - cut]))
    assert torch.equal(after.sort(1).values, whole.sort(1).values)


def test_the_best_are_stored_and_of_equals_the_oldest() -> None:
    ranked = by_error(torch.tensor([[0.5, 2.0, 0.1, 2.0, 0.5, 1.0]]), 100, None)
    place, held = choose(torch.full((1, 4), EMPTY), ranked, [0, 2, 6])
    assert (held[0, 0] == EMPTY).all()
    assert positions(held[0, 1, :2]).tolist() == [101, 100]
    assert held[0, 1, 2:].tolist() == [EMPTY, EMPTY]
    assert positions(held[0, 2]).tolist() == [101, 103, 105, 100]
    assert (place[0, 2] - 4).tolist() == [1, 3, 5, 0]  # behind the four slots stand the tokens


def test_rounding_decides_nothing() -> None:
    error = errors(40)
    noisy = error + 1e-6 * torch.randn(2, 40, generator=torch.Generator().manual_seed(1))
    assert torch.equal(by_error(noisy, 0, None), by_error(error, 0, None))


def test_only_what_is_above_the_threshold_is_stored() -> None:
    ranked = by_error(torch.tensor([[1.0, 0.9, 1.1], [3.0, 1.5, 1.0]]), 0, 1.0)
    assert (ranked != EMPTY).tolist() == [[False, False, True], [True, True, False]]
    place, held = keep_all(ranked)
    assert place.shape == (2, 2)
    assert (held != EMPTY).tolist() == [[True, False], [True, True]]
    assert place[0, 0] == 2
    assert place[1].tolist() == [0, 1]
    assert keep_all(ranked[:, :0])[0].shape == (2, 0)
    assert keep_all(torch.full((2, 3), EMPTY))[0].shape == (2, 0)


def test_controls_keep_the_oldest_or_any() -> None:
    device = torch.device("cpu")
    free = torch.full((1, 8), EMPTY)
    oldest = choose(free, by_age(1, 100, 0, device), [100])[1]
    assert sorted(positions(oldest[0, 0]).tolist()) == list(range(8))
    chances = [by_chance(1, 1000, 0, layer, device) for layer in (0, 1)]
    drawn = [choose(free.expand(1, 8), chance, [1000])[1][0, 0] for chance in chances]
    assert len(set(positions(drawn[0]).tolist()) & set(positions(drawn[1]).tolist())) < 3  # another draw in another layer
    halves = torch.cat([by_chance(1, 300, 0, 0, device), by_chance(1, 700, 300, 0, device)], dim=1)
    assert torch.equal(halves, chances[0])
    kept = positions(choose(torch.full((1, 200), EMPTY), chances[0], [1000])[1][0, 0])
    assert 420 < kept.float().mean() < 580  # spread over all


def test_what_is_gathered_lets_gradients_through() -> None:
    part = torch.arange(24.0).view(1, 2, 6, 2).requires_grad_()
    found = gather(part, torch.tensor([[[5, 0], [1, 1]]]))
    assert found.shape == (1, 2, 2, 2, 2)
    assert found[0, 1, 0, 0].tolist() == [22, 23]
    (gradient,) = torch.autograd.grad(found.sum(), part)
    assert gradient[0, 0, :, 0].tolist() == [1, 2, 0, 0, 0, 1]


def test_the_average_is_of_the_few_tokens_before() -> None:
    hidden = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    predicted, recent = average_before(hidden, None, 4)
    assert (predicted[:, 0] == 0).all()
    for position in range(1, 9):
        torch.testing.assert_close(predicted[:, position], hidden[:, max(0, position - 4) : position].mean(1))
    assert torch.equal(recent, hidden[:, -4:])


@pytest.mark.parametrize("predict", [lambda part, known: average_before(part, known, 4), read_out_before], ids=["average", "read-out"])
@pytest.mark.parametrize("cut", [1, 2, 6, 8])
def test_predictions_go_on_where_they_stopped(predict: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]], cut: int) -> None:
    hidden = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole, last = predict(hidden, None)
    head, known = predict(hidden[:, :cut], None)
    tail, after = predict(hidden[:, cut:], known)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), whole)
    assert torch.equal(after, last)


def test_errors_are_of_direction_and_nothing_where_tokens_repeat() -> None:
    hidden = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(0))
    same = prediction_error(hidden, 3 * hidden)
    opposite = prediction_error(hidden, -hidden)
    assert same.item() < 1e-6
    assert opposite.item() == pytest.approx(4, abs=1e-3)
    repeated = hidden.expand(-1, 9, -1)
    error = prediction_error(repeated, average_before(repeated, None, 4)[0])
    assert error[0, 0].item() == pytest.approx(1, abs=1e-3)
    assert (by_error(error[:, 1:], 1, 0.0) == EMPTY).all()
