"""What a NAMM sees: spectrogram, averages, recency and their normalisation, against torch.stft, loops and cases done by hand."""

import math

import pytest
import torch

from kmem.models.namm.ema import average_frames, frame_decay
from kmem.models.namm.normalisation import Moments, normalise
from kmem.models.namm.recency import recency
from kmem.models.namm.spectrogram import spectrogram


@pytest.mark.parametrize(("n_fft", "hop"), [(32, 16), (8, 4), (6, 3)])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_spectrogram_is_torch_stft(n_fft: int, hop: int, frames: int) -> None:
    series = torch.randn(3, n_fft + (frames - 1) * hop, generator=torch.Generator().manual_seed(frames), dtype=torch.float64)
    window = torch.hann_window(n_fft, dtype=torch.float64)
    expected = torch.stft(series, n_fft, hop, window=window, center=False, normalized=False, onesided=True, return_complex=True).abs()
    torch.testing.assert_close(spectrogram(series, n_fft, hop), expected.transpose(-1, -2), rtol=0, atol=1e-12)
    found = spectrogram(series.bfloat16(), n_fft, hop)
    assert found.dtype == torch.float32


def test_spectrogram_by_hand() -> None:
    """Hann of 4: 0, ½, 1, ½. The series 1, 1, 1, 1, 5, 0 has frames (1, 1, 1, 1) and (1, 1, 5, 0), weighted (0, ½, 1, ½), (0, ½, 5, 0)."""
    found = spectrogram(torch.tensor([1.0, 1, 1, 1, 5, 0], dtype=torch.float64), 4, 2)
    expected = [[2.0, 1.0, 0.0], [5.5, math.hypot(5.0, 0.5), 4.5]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-14)


def test_average_over_frames_is_the_papers_sum_and_goes_on() -> None:
    """Σ (1 − g)·g^(F−1−f)·S_f + g^F·before, and the same in two firings as in one."""
    frames, before = torch.rand(5, 32, 17, dtype=torch.float64), torch.rand(5, 17, dtype=torch.float64)
    decay = frame_decay(0.99, 16)
    assert math.isclose(decay, 0.8515, abs_tol=1e-4)
    expected = 0.99**512 * before + sum((1 - decay) * decay ** (31 - f) * frames[:, f] for f in range(32))
    torch.testing.assert_close(average_frames(frames, before, decay), expected, rtol=0, atol=1e-12)
    twice = average_frames(frames[:, 9:], average_frames(frames[:, :9], before, decay), decay)
    torch.testing.assert_close(twice, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(average_frames(frames[:, :0], before, decay), before)


def test_recency_by_hand() -> None:
    """Frequencies 50000^(−k/4): 1, 0.0669, 0.00447, 0.000299."""
    found = recency(torch.tensor([0, 3, 100_000]), 8, 50_000.0)
    assert found[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    for row, age in ((1, 3), (2, 100_000)):
        angles = [age * 50_000.0 ** (-k / 4) for k in range(4)]
        expected = [*map(math.sin, angles), *map(math.cos, angles)]
        torch.testing.assert_close(found[row], torch.tensor(expected), rtol=0, atol=1e-6)


def test_moments_merge_to_those_of_everything() -> None:
    """Parts of odd sizes, one of them empty, far from zero: what a sum of squares would lose."""
    generator = torch.Generator().manual_seed(0)
    features = 1e6 + torch.randn(2, 3, 41, 17, generator=generator, dtype=torch.float64)
    real = torch.rand(2, 3, 41, generator=generator) < 0.6
    whole = Moments.of(features, real)
    sizes = [1, 0, 17, 23]
    merged = Moments.of(features, torch.zeros_like(real))
    assert merged.merge(merged).count == 0
    for part, seen in zip(torch.split(features, sizes, dim=2), torch.split(real, sizes, dim=2), strict=True):
        merged = merged.merge(Moments.of(part, seen))
    assert merged.count == whole.count == real.sum()
    torch.testing.assert_close(merged.mean, features[real].mean(0), rtol=0, atol=1e-8)
    torch.testing.assert_close(merged.variance, features[real].var(0, correction=0), rtol=1e-8, atol=0)
    assert whole.mean.dtype == torch.float64


def test_a_constant_feature_is_not_divided_by_zero() -> None:
    found = normalise(torch.tensor([2.0, 2.0 + 1e-6], dtype=torch.float64), torch.tensor(2.0), torch.tensor(0.0))
    torch.testing.assert_close(found, torch.tensor([0.0, 10.0]), rtol=1e-3, atol=1e-6)
