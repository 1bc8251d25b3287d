"""The Triton scan against the recurrence, in Triton's interpreter where there is no GPU. What is not yet written is NaN."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from kmem.kernels.ssd_scan import naive
from kmem.kernels.ssd_scan.triton import ssd_scan

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-3}
Given = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture(autouse=True)
def _uninitialised_memory_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def inputs(
    length: int, *, heads: int = 4, groups: int = 2, dim: int = 12, width: int = 20, dtype: torch.dtype = torch.float32, fade: float = 0.3
) -> Given:
    """Value, log_decay, key and query as a model hands them over: keys and queries are parts of a longer tensor."""
    random = torch.Generator().manual_seed(length)

    def noise(*shape: int) -> Tensor:
        return torch.randn(2, length, *shape, generator=random).to(DEVICE)

    joined = noise(groups, 2 * width + 3).to(dtype)
    decay = -fade * torch.nn.functional.softplus(noise(heads))
    return noise(heads, dim).to(dtype), decay, joined[..., 3 : width + 3], joined[..., width + 3 :]


def check(given: Given, state: Tensor | None = None) -> None:
    """Against the recurrence in float64, by norm."""
    value, log_decay, key, query = (part.double() for part in given)
    expected = naive.ssd_scan(value, log_decay, key, query, None if state is None else state.double())
    for found, exact in zip(ssd_scan(*given, state), expected, strict=True):
        assert found.dtype == torch.float32
        assert found.isfinite().all()
        assert float((found.double() - exact).norm() / exact.norm()) < TOLERANCE[given[0].dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_it_equals_the_recurrence(length: int, dtype: torch.dtype) -> None:
    check(inputs(length, dtype=dtype))
    check(inputs(length, dtype=dtype), torch.randn(2, 4, 12, 20, device=DEVICE))


@pytest.mark.parametrize(("heads", "groups", "dim", "width"), [(1, 1, 1, 1), (3, 1, 64, 16), (2, 2, 5, 128)])
def test_every_shape(heads: int, groups: int, dim: int, width: int) -> None:
    check(inputs(70, heads=heads, groups=groups, dim=dim, width=width))


@pytest.mark.parametrize("fade", [0.0, 40.0])
def test_decays_of_nothing_and_of_everything(fade: float) -> None:
    check(inputs(130, fade=fade))


def test_what_fades_after_much_has_faded_is_as_exact() -> None:
    """The sum of decays is large, the differences that count are small."""
    given = inputs(64)
    given[1][:, :20] *= 500
    check(given)


def test_no_token_changes_nothing() -> None:
    state = torch.randn(2, 4, 12, 20, device=DEVICE)
    value, log_decay, key, query = (part[:, :0] for part in inputs(5))
    output, last = ssd_scan(value, log_decay, key, query, state)
    assert output.shape == (2, 0, 4, 12)
    assert torch.equal(last, state)
