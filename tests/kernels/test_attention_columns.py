"""The blockwise passes against the materialised attention, and that against torch.stft; Triton in its interpreter where there is no GPU."""

from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor

from kmem.kernels import attention_columns
from kmem.kernels.attention_columns import Frames, Rows, cpu, naive, triton
from kmem.models.namm.spectrogram import basis

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
KERNELS = pytest.mark.parametrize("kernel", [cpu, triton], ids=["cpu", "triton"])
TOLERANCE = 1e-5
FRAMES = Frames(basis=basis(32), decay=0.99**16)


def rows_of(
    length: int, keys: int, *, first: int = 100, heads: tuple[int, int] = (6, 2), dim: int = 12, softcap: float | None = None
) -> Rows:
    """Ragged: some keys are missing before the others, the rest lies at ascending positions, the last ones beyond the first row."""
    generator = torch.Generator().manual_seed(length + keys)
    position = torch.rand(2, heads[1], max(first + length, keys), generator=generator).argsort(-1)[..., :keys].sort(-1).values
    position[0, 0, : keys // 3] = -1
    return Rows(
        query=torch.randn(2, length, heads[0], dim, generator=generator).to(DEVICE).transpose(1, 2),
        key=torch.randn(2, keys, heads[1], dim, generator=generator).to(DEVICE).transpose(1, 2),
        position=position.to(DEVICE),
        first=first,
        scaling=0.7,
        softcap=softcap,
    )


def poisoned(rows: Rows) -> Rows:
    """What nobody may read is huge. (NaN would do on a GPU alone: torch's product is taken before anything is hidden.)"""
    return replace(rows, key=rows.key.masked_fill((rows.position < 0)[..., None], 1e4))


def wide(rows: Rows) -> Rows:
    return replace(rows, query=rows.query.double(), key=rows.key.double())


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected.double(), rtol=TOLERANCE, atol=TOLERANCE)


@KERNELS
@pytest.mark.parametrize(("length", "keys"), [(1, 1), (1, 63), (5, 64), (63, 65), (64, 130), (65, 7), (130, 200)])
def test_sums(kernel: ModuleType, length: int, keys: int) -> None:
    rows = rows_of(length, keys)
    found = kernel.column_sums(poisoned(rows))
    assert found.dtype == torch.float32
    close(found, naive.column_sums(wide(rows)))


@KERNELS
@pytest.mark.parametrize(("length", "keys"), [(32, 1), (32, 63), (48, 64), (80, 65), (112, 200), (160, 31)])
def test_frames(kernel: ModuleType, length: int, keys: int) -> None:
    """With what the rows before had seen, some of it gone by now."""
    rows = rows_of(length, keys)
    known = naive.attention(wide(rows))[1][..., :16].float() + 0.1
    before = torch.rand(2, 2, keys, 17, device=DEVICE)
    found = kernel.column_frames(poisoned(rows), known, FRAMES, before)
    expected = naive.column_frames(wide(rows), known, FRAMES, before)
    for part, exact in zip(found, expected, strict=True):
        close(part, exact)


@KERNELS
@pytest.mark.parametrize("options", [{"heads": (1, 1), "dim": 16}, {"heads": (8, 1), "dim": 20}, {"heads": (2, 2), "softcap": 1.5}])
def test_every_shape(kernel: ModuleType, options: dict[str, object]) -> None:
    rows = rows_of(48, 70, **options)  # type: ignore[arg-type]
    before = torch.zeros(*rows.position.shape, 17, device=DEVICE)
    close(kernel.column_frames(rows, None, FRAMES, before)[0], naive.column_frames(wide(rows), None, FRAMES, before)[0])
    close(kernel.column_sums(rows), naive.column_sums(wide(rows)))


@KERNELS
def test_a_new_sequence_has_nothing_before_it(kernel: ModuleType) -> None:
    """Rows at positions below 0 see nothing, whatever their queries are, and have a log-sum-exp of −∞."""
    rows = replace(rows_of(32, 20), first=-16, position=torch.arange(20, device=DEVICE).expand(2, 2, -1))
    before = torch.zeros(2, 2, 20, 17, device=DEVICE)
    other = replace(rows, query=torch.cat([rows.query[:, :, 16:], rows.query[:, :, 16:]], dim=2))
    expected = naive.column_frames(wide(rows), None, FRAMES, before)
    for one in (rows, other):
        for part, exact in zip(kernel.column_frames(one, None, FRAMES, before), expected, strict=True):
            close(part, exact)
    assert float(expected[0][:, :, 16:].abs().max()) == 0
    assert bool((kernel.column_frames(rows_at(rows, -32), None, FRAMES, before)[1] == -torch.inf).all())


def rows_at(rows: Rows, first: int) -> Rows:
    return replace(rows, first=first)


@KERNELS
def test_rows_long_before_the_text_and_missing_keys(kernel: ModuleType) -> None:
    """Blocks that see nothing before blocks that do, in memory that held other numbers."""
    rows = replace(rows_of(160, 40), first=-120)
    before = torch.rand(2, 2, 40, 17, device=DEVICE)
    kernel.column_frames(rows_of(160, 40), None, FRAMES, before)
    close(kernel.column_frames(rows, None, FRAMES, before)[0], naive.column_frames(wide(rows), None, FRAMES, before)[0])


@KERNELS
def test_bfloat16_is_read_as_it_is(kernel: ModuleType) -> None:
    rows = rows_of(48, 70)
    rounded = replace(rows, query=rows.query.bfloat16(), key=rows.key.bfloat16())
    before = torch.zeros(2, 2, 70, 17, device=DEVICE)
    close(kernel.column_frames(rounded, None, FRAMES, before)[0], naive.column_frames(wide(rounded), None, FRAMES, before)[0])


def test_naive_frames_are_torchs_stft() -> None:
    """One head, attention of 112 rows as series of each key, 6 frames, averaged by hand."""
    rows = wide(rows_of(112, 30, heads=(1, 1)))
    before = torch.rand(2, 1, 30, 17, dtype=torch.float64, device=DEVICE)
    series = naive.attention(rows)[0].transpose(-1, -2).reshape(-1, 112)
    window = torch.hann_window(32, dtype=torch.float64, device=DEVICE)
    spectra = torch.stft(series, 32, 16, window=window, center=False, return_complex=True).abs()
    expected = before.view(-1, 17)
    for frame in range(6):
        expected = FRAMES.decay * expected + (1 - FRAMES.decay) * spectra[..., frame]
    torch.testing.assert_close(naive.column_frames(rows, None, FRAMES, before)[0].view(-1, 17), expected, rtol=0, atol=1e-12)


def test_in_pieces_as_in_one_and_in_float64() -> None:
    """The log-sum-exp that a call gives back is what the next one needs, and the CPU's passes are as exact as their numbers."""
    rows = wide(rows_of(16 * 11, 90))
    before = torch.zeros(2, 2, 90, 17, device=DEVICE)
    whole = naive.column_frames(rows, None, FRAMES, before)
    found, known = before, None
    for start, stop in ((0, 48), (32, 64), (48, 176)):
        part = replace(rows, query=rows.query[:, :, start:stop], first=rows.first + start)
        found, known = attention_columns.column_frames(part, known, FRAMES, found)
    assert known is not None
    torch.testing.assert_close(found, whole[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(known, whole[1], rtol=0, atol=1e-12)


def test_the_usual_kernel_serves_hops_that_triton_does_not() -> None:
    rows, frames = rows_of(24, 30), Frames(basis=basis(8), decay=0.9)
    assert not frames.suits_blocks
    before = torch.zeros(2, 2, 30, 5, device=DEVICE)
    found = attention_columns.column_frames(rows, None, frames, before)[0]
    close(found, naive.column_frames(wide(rows), None, frames, before)[0])
    close(attention_columns.column_sums(rows), naive.column_sums(wide(rows)))
