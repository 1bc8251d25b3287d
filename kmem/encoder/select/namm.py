"""Keep what a NAMM would: how the reference's later tokens read each token, as an averaged spectrum, decides (arXiv 2410.13166).

A NAMM ranks the tokens of a cache when 512 were read. A reference has at most 128 and no firing, so it is taken as the last of a text that
began with it: each head's attention series, one value a token of the reference from the token itself on, becomes frames as in use, with
silence before the first; tokens after the last whole hop are the first of a frame that silence ends. The average is made as large as one
of all that is watched, ages count from the reference's last token, and the tokens are scored together. What the network adds to a head as a
whole and its threshold change no order within a head, and are left out.
"""

from functools import cache

import torch
from torch import Tensor

from kmem.encoder.select.view import LayerView
from kmem.models.namm.checkpoint import load_namm
from kmem.models.namm.ema import average_frames, frame_decay
from kmem.models.namm.scorer import Namm
from kmem.models.namm.spectrogram import spectrogram

DEFAULT = "smollm2"
"""The shipped one."""


def namm(view: LayerView) -> Tensor:
    """Scores of the shipped NAMM, [B, H, T]."""
    return namm_scores(shipped(), view)


@torch.no_grad()
def namm_scores(scorer: Namm, view: LayerView) -> Tensor:
    """Scores [B, H, T] of any NAMM; each row for itself, since its length says which frames there are."""
    batch, heads, tokens, _ = view.rotated_key.shape
    scores = torch.zeros(batch, heads, tokens, dtype=torch.float64, device=view.key.device)
    scorer = scorer.to(view.key.device)
    for row in range(batch):
        length = int(view.valid[row].sum())
        series = _attention(view, row, length).transpose(-1, -2)  # [H, T, rows]
        ages = torch.arange(length - 1, -1, -1, device=series.device).expand(1, heads, -1)
        features = scorer.features(_averaged(scorer, series)[None], ages)
        real = torch.ones(1, heads, length, dtype=torch.bool, device=series.device)
        scores[row, :, :length] = scorer(features, real)[0].double()
    return scores


@cache
def shipped() -> Namm:
    """Read once."""
    return load_namm(DEFAULT)


def _attention(view: LayerView, row: int, length: int) -> Tensor:
    """[H, rows, T] causal attention among the reference's tokens, averaged over the group's query heads."""
    heads, dim = view.rotated_key.shape[1], view.rotated_key.shape[3]
    query = view.rotated_query[row, :, :length].to(view.query.dtype).reshape(heads, -1, length, dim)
    logits = torch.einsum("hgid,hjd->hgij", query, view.rotated_key[row, :, :length].to(view.query.dtype)) * view.scaling
    causal = torch.ones(length, length, dtype=torch.bool, device=logits.device).tril()
    return logits.masked_fill(~causal, -torch.inf).softmax(-1).mean(1)


def _averaged(namm: Namm, series: Tensor) -> Tensor:
    """[H, T, bins] from series [H, T, rows], as large as if as many rows as are watched had been like them."""
    config = namm.config
    rows = -(-series.shape[-1] // config.hop) * config.hop
    padded = torch.nn.functional.pad(series, (config.hop, rows - series.shape[-1]))
    frames = spectrogram(padded, config.n_fft, config.hop)
    decay = frame_decay(config.ema, config.hop)
    averaged = average_frames(frames, frames.new_zeros(*frames.shape[:-2], config.bins), decay)
    return averaged * ((1 - decay ** (config.watched // config.hop)) / (1 - decay ** (rows // config.hop)))
