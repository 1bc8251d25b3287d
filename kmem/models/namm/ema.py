"""What is left of a token's spectrogram: an exponential moving average over its frames, and on across firings."""

import torch
from torch import Tensor


def frame_decay(ema: float, hop: int) -> float:
    """What one frame leaves of the frames before it."""
    return ema**hop


def average_frames(frames: Tensor, before: Tensor, decay: float) -> Tensor:
    """Frames [..., F, bins] after an average of `before` [..., bins] → [..., bins]: e ← decay·e + (1 − decay)·frame, F times.

    A token that is new in frame f had attention 0 in all before, so its average of nothing is 0 and no mask is needed.
    """
    count = frames.shape[-2]
    weights = (1 - decay) * decay ** torch.arange(count - 1, -1, -1, dtype=torch.float64)
    return torch.einsum("...fk,f->...k", frames, weights.to(frames)) + decay**count * before
