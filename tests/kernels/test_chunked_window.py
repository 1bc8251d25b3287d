"""Blocks against explicit masks, and the masks against what they are to mean."""

from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor

from kmem.errors import ConfigError
from kmem.kernels.chunked_window import Eidetic, KeyValue, Window, attend, attend_retrieved, naive
from kmem.kernels.chunked_window.blocks import Blocks

HEADS, GROUP, DIM, STORED = 2, 3, 8, 5
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
LENGTHS = (1, 15, 16, 17, 50)
WINDOWS = [
    Window(width=12, chunk=8),
    Window(width=16, chunk=8, fading=16),
    Window(width=7, chunk=7, fading=3),
    Window(width=12, chunk=8, fading=12, sliding=True),
    Window(width=5, chunk=1, fading=5),
]


def noise(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def pair(*shape: int, seed: int, dtype: torch.dtype) -> KeyValue:
    return KeyValue(noise(*shape, seed=seed, dtype=dtype), noise(*shape, seed=seed + 1, dtype=dtype))


def case(
    window: Window, past: int, length: int, *, stored: bool = True, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, KeyValue, KeyValue | None, Eidetic | None]:
    """Of two rows: queries, and no more keys than they need."""
    end, chunks = past + length, len(window.chunks(past, past + length))
    near = pair(2, HEADS, end - window.kept(past), DIM, seed=1, dtype=dtype)
    fading = pair(2, HEADS, end - window.kept_fading(past), DIM, seed=3, dtype=dtype) if window.fading else None
    filled = noise(2, chunks, STORED, seed=7) > 0
    eidetic = Eidetic(*pair(2, HEADS, chunks, STORED, DIM, seed=5, dtype=dtype), filled) if stored else None
    return noise(2, HEADS * GROUP, length, DIM, seed=9, dtype=dtype), near, fading, eidetic


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize(("past", "length"), [*product((0, 5, 24), LENGTHS)])
def test_blocks_equal_masks(window: Window, past: int, length: int) -> None:
    for stored, dtype in product((False, True), TOLERANCE):
        query, near, fading, eidetic = case(window, past, length, stored=stored, dtype=dtype)
        settings = {"end": past + length, "scaling": 0.7, "fading": fading, "eidetic": eidetic}
        expected = naive.attend(query, near, window, **settings)  # type: ignore[arg-type]
        close = partial(torch.testing.assert_close, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        close(attend(query, near, window, **settings).output, expected.output)  # type: ignore[arg-type]
        output, lse = attend(query, near, window, **settings, lse=True)  # type: ignore[arg-type]
        close(output, expected.output)
        close(lse, expected.lse)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_wider_buffer_changes_nothing(window: Window) -> None:
    query, near, fading, _ = case(window, 0, 70)
    whole = attend(query, near, window, end=70, scaling=1.0, fading=fading).output
    for past in (1, 40, 69):
        part = attend(query[:, :, past:], near, window, end=70, scaling=1.0, fading=fading).output
        torch.testing.assert_close(part, whole[:, :, past:], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_query_sees_what_the_window_says(window: Window) -> None:
    """Values are unit vectors of their position, so an output says who was seen."""
    length = 40
    weights = torch.zeros(1, 1, length, DIM, dtype=torch.float64)
    places = torch.eye(length, dtype=torch.float64)[None, None]
    near, fading = KeyValue(weights, torch.cat([places, 0 * places], dim=-1)), KeyValue(weights, torch.cat([0 * places, places], dim=-1))
    output = attend(weights, near, window, end=length, scaling=1.0, fading=fading if window.fading else None).output[0, 0]
    for position, row in enumerate(output):
        first = position - window.width + 1 if window.sliding else position // window.chunk * window.chunk - (window.width - window.chunk)
        assert row[:length].nonzero().flatten().tolist() == list(range(max(0, first), position + 1))
        assert row[length:].nonzero().flatten().tolist() == list(range(max(0, first - window.fading), max(0, first)))


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize(("past", "length"), [(0, 1), (16, 8), (27, 1), (57, 5)])
def test_what_each_query_retrieves_is_seen_by_it_alone(window: Window, past: int, length: int) -> None:
    """One query's set at a time, through the path where all share one."""
    if len(window.chunks(past, past + length)) > 1:
        length = 1
    query, near, fading, _ = case(window, past, length)
    end = past + length
    key, value = (noise(2, HEADS, length, STORED, DIM, seed=seed) for seed in (11, 12))
    filled = noise(2, HEADS, length, STORED, seed=13) > 0
    found, none = attend_retrieved(query, near, window, Eidetic(key, value, filled), end=end, scaling=0.7, fading=fading)
    assert none is None
    again, lse = attend_retrieved(query, near, window, Eidetic(key, value, filled), end=end, scaling=0.7, fading=fading, lse=True)
    torch.testing.assert_close(again, found, rtol=1e-12, atol=1e-12)
    assert lse is not None
    for row, head, column in product(range(2), range(HEADS), range(length)):
        members, own = slice(head * GROUP, (head + 1) * GROUP), filled[row, head, column]
        expected = naive.attend(
            query[row, None, members],
            KeyValue(*(part[row, None, head, None] for part in near)),
            window,
            end=end,
            scaling=0.7,
            fading=None if fading is None else KeyValue(*(part[row, None, head, None] for part in fading)),
            eidetic=Eidetic(key[row, head, column][None, None, None], value[row, head, column][None, None, None], own[None, None]),
        )
        torch.testing.assert_close(found[row, members, column], expected.output[0, :, column], rtol=1e-12, atol=1e-12)
        assert expected.lse is not None
        torch.testing.assert_close(lse[row, members, column], expected.lse[0, :, column], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("past", "length"), [(5, 50), (0, 3), (0, 17), (24, 8)])
@pytest.mark.parametrize("window", [*WINDOWS[1:4], Window(width=16, chunk=8, fading=40)], ids=str)
def test_gradients_equal_those_through_masks(window: Window, past: int, length: int) -> None:
    """Also where no key of the fading memory has been yet."""
    gradients = []
    for path in (attend, naive.attend):
        query, near, fading, eidetic = case(window, past, length)
        assert fading is not None
        assert eidetic is not None
        leaves = [part.requires_grad_() for part in (query, *near, *fading, *eidetic[:2])]
        output = path(query, near, window, end=past + length, scaling=0.7, fading=fading, eidetic=eidetic).output
        gradients.append(torch.autograd.grad(output.sin().sum(), leaves))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_keys_that_begin_too_late_are_refused() -> None:
    window = WINDOWS[1]
    query, near, fading, _ = case(window, 40, 4)
    with pytest.raises(ConfigError, match="begin at position 33, but the first query sees position 32: hand over 12"):
        attend(query, KeyValue(*(part[:, :, 1:] for part in near)), window, end=44, scaling=1.0)
    assert fading is not None
    with pytest.raises(ConfigError, match="The fading keys begin at position 17"):
        attend(query, near, window, end=44, scaling=1.0, fading=KeyValue(*(part[:, :, 1:] for part in fading)))


@pytest.mark.parametrize(("width", "chunk", "fading"), [(4, 5, 0), (4, 0, 0), (4, 2, -1)])
def test_sizes_that_cannot_be_are_refused(width: int, chunk: int, fading: int) -> None:
    with pytest.raises(ConfigError):
        Window(width=width, chunk=chunk, fading=fading)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("length", [1, 9, 24])
def test_masks_of_later_pieces_are_those_of_earlier_ones(window: Window, length: int) -> None:
    """However far into a text, no more masks are made than there are places in a chunk; and each is the one of its own place."""
    settled = {past: Blocks.of(window, past, past + length).settled() for past in range(40, 80)}
    assert len(set(settled.values())) == window.chunk
    for past, blocks in settled.items():
        own = Blocks.of(window, past, past + length).visible(fades=bool(window.fading), device=torch.device("cpu"))
        assert torch.equal(blocks.visible(fades=bool(window.fading), device=torch.device("cpu")), own)
        assert own.all(0).any()
    near = Blocks.of(window, 3, 3 + length)
    assert near.settled() == near
