"""The short-time Fourier transform of the attention a token gets, as a fixed real matrix times frames of it."""

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=8)
def basis(n_fft: int) -> Tensor:
    """[2, n_fft/2 + 1, n_fft] float64: real and imaginary part of each frequency, under a periodic Hann window.

    basis @ frame is what `torch.stft(frame, n_fft, window=torch.hann_window(n_fft), center=False)` gives.
    """
    time = torch.arange(n_fft, dtype=torch.float64)
    window = (1 - torch.cos(2 * torch.pi * time / n_fft)) / 2
    # Exponents are taken modulo n_fft, so that what is 0 or 1 is so exactly up to one rounding.
    turns = (torch.outer(torch.arange(n_fft // 2 + 1), torch.arange(n_fft)) % n_fft).double() * (2 * torch.pi / n_fft)
    return torch.stack([torch.cos(turns), -torch.sin(turns)]) * window


def spectrogram(series: Tensor, n_fft: int, hop: int) -> Tensor:
    """Series [..., t] → magnitudes [..., F, n_fft/2 + 1] of its F = (t − n_fft) / hop + 1 frames; in the series' type, at least float32."""
    wide = torch.promote_types(series.dtype, torch.float32)
    frames = series.to(wide).unfold(-1, n_fft, hop)
    real, imaginary = (frames @ part.to(frames).T for part in basis(n_fft))
    return torch.hypot(real, imaginary)
