"""The constant bracket: `<bos>Reference:` before every reference, and optionally a suffix after it.

Positions (DESIGN §3): the suffix ends at −1, the 128-position reference span lies before it, the prefix before that; the context starts
at 0 and `generate()` keeps its own positions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kmem.encoder.anatomy import Anatomy
from kmem.encoder.capture import Projections, run_prefix
from kmem.profile import SPAN_TOKENS, Align, Profile


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """Token ids of prefix and suffix, and which end of the span a short chunk touches."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    align: Align

    @property
    def span_start(self) -> int:
        """Position of the first of the 128 reference positions."""
        return -SPAN_TOKENS - len(self.suffix)

    def prefix_positions(self) -> range:
        return range(self.span_start - len(self.prefix), self.span_start)

    def chunk_positions(self, tokens: int) -> range:
        start = self.span_start if self.align == "start" else self.span_start + SPAN_TOKENS - tokens
        return range(start, start + tokens)

    def suffix_positions(self) -> range:
        return range(-len(self.suffix), 0)


def start_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The beginning-of-sequence token; without one the end-of-text token, or none."""
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return () if begin is None else (begin,)


def bracket_of(profile: Profile, tokenizer: PreTrainedTokenizerBase) -> Bracket:
    """The profile's bracket in the tokenizer's ids, after `start_tokens`."""
    prefix = tokenizer(profile.prefix, add_special_tokens=False)["input_ids"] if profile.prefix else []
    suffix = tokenizer(profile.suffix, add_special_tokens=False)["input_ids"] if profile.suffix else []
    return Bracket(prefix=(*start_tokens(tokenizer), *prefix), suffix=tuple(suffix), align=profile.align)


def encode_bracket(model: PreTrainedModel, bracket: Bracket, anatomy: Anatomy, *, learning: bool = False) -> Tensor:
    """[L, 2, H, P, D] keys (after RoPE) and values of prefix and suffix at every layer; the suffix sees only the prefix.

    In main memory, or, where they are to be learnt through (`run_prefix`), on the model's device.
    """
    if not bracket.prefix and not bracket.suffix:
        return torch.zeros(anatomy.layers, 2, anatomy.heads, 0, anatomy.head_dim, dtype=model.dtype)
    ids = torch.tensor([[*bracket.prefix, *bracket.suffix]], device=model.device)
    positions = torch.tensor([[*bracket.prefix_positions(), *bracket.suffix_positions()]], device=model.device)
    captured: list[Tensor] = []

    def keep(projections: Projections) -> None:
        captured.append(torch.stack([projections.key[0], projections.value[0]]))

    run_prefix(model, ids, torch.ones_like(ids), positions, last_layer=anatomy.layers - 1, receive=keep, learning=learning)
    found = torch.stack(captured)
    return found if learning else found.cpu()
