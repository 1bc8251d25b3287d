"""The Triton attention over stored, fading and window keys against the masks, in Triton's interpreter where there is no GPU."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from kmem.errors import ConfigError
from kmem.kernels.chunked_window import Eidetic, KeyValue, Window, naive
from kmem.kernels.chunked_window.triton import attend
from tests.kernels.test_chunked_window import WINDOWS

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-3}


@pytest.fixture(autouse=True)
def _uninitialised_memory_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def error(found: Tensor, expected: Tensor) -> float:
    assert found.isfinite().all()
    return float((found.double() - expected).norm() / expected.norm())


def check(
    window: Window, past: int, length: int, *, stored: int = 5, heads: tuple[int, int] = (6, 2), dim: int = 12, dtype: torch.dtype
) -> None:
    """Against the masks in float64, by norm; views as a model has them, and NaN wherever nothing may be read."""
    generator = torch.Generator().manual_seed(length)
    end, query_heads, own = past + length, *heads

    def states(*shape: int) -> Tensor:
        """[B, H, n, D] with heads and tokens the other way round in memory."""
        return torch.randn(2, *reversed(shape), dim, generator=generator).to(dtype).to(DEVICE).transpose(1, -2)

    near = KeyValue(*(states(own, end - window.kept(past)) for _ in range(2)))
    fading = KeyValue(*(states(own, end - window.kept_fading(past)) for _ in range(2))) if window.fading else None
    eidetic = poisoned = None
    if stored:
        chunks = len(window.chunks(past, end))
        filled = torch.rand(2, chunks, stored, generator=generator).to(DEVICE) < 0.7
        empty = ~filled[:, None, ..., None]
        key, value = (states(own, chunks, stored).masked_fill(empty, 0) for _ in range(2))
        eidetic = Eidetic(key.double(), value.double(), filled)
        poisoned = Eidetic(key.masked_fill(empty, float("nan")), value.masked_fill(empty, float("nan")), filled)
    query = states(query_heads, length)
    wide = [KeyValue(*(part.double() for part in pair)) if pair is not None else None for pair in (near, fading)]
    assert wide[0] is not None
    expected = naive.attend(query.double(), wide[0], window, end=end, scaling=0.7, fading=wide[1], eidetic=eidetic)
    found = attend(query, near, window, end=end, scaling=0.7, fading=fading, eidetic=poisoned, lse=True)
    for part, exact in zip(found, expected, strict=True):
        assert part is not None
        assert exact is not None
        assert part.dtype == torch.float32
        assert error(part, exact) <= TOLERANCE[dtype]
    if dtype == torch.bfloat16:
        rounded = attend(query, near, window, end=end, scaling=0.7, fading=fading, eidetic=poisoned)
        assert rounded.lse is None
        assert rounded.output.dtype == dtype
        assert error(rounded.output, expected.output) <= 2.0**-7  # the interpreter cuts off where a GPU rounds


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("window", [WINDOWS[1], WINDOWS[3]], ids=str)
@pytest.mark.parametrize(("past", "length"), [(0, 1), (5, 30), (24, 16), (27, 1)])
def test_it_equals_the_masks(window: Window, past: int, length: int, dtype: torch.dtype) -> None:
    check(window, past, length, dtype=dtype)


@pytest.mark.parametrize("window", [WINDOWS[0], WINDOWS[2], WINDOWS[4]], ids=str)
def test_without_fading_keys_and_in_chunks_of_other_sizes(window: Window) -> None:
    check(window, 5, 6 * window.chunk, heads=(2, 1), dtype=torch.float32)


@pytest.mark.parametrize(("heads", "dim", "stored"), [((1, 1), 16, 0), ((8, 1), 20, 70), ((2, 2), 64, 1)])
def test_every_shape(heads: tuple[int, int], dim: int, stored: int) -> None:
    check(Window(width=40, chunk=33, fading=35), 70, 50, stored=stored, heads=heads, dim=dim, dtype=torch.float32)


def test_keys_that_begin_too_late_are_refused() -> None:
    part = torch.zeros(1, 1, 11, 8, device=DEVICE)
    with pytest.raises(ConfigError, match="begin at position 33, but the first query sees position 32"):
        attend(part[:, :, :4], KeyValue(part, part), WINDOWS[1], end=44, scaling=1.0)
