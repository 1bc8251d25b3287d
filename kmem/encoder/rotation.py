"""Find out by running the model which layers rotate their keys, and refuse one whose rotation can't be undone."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from kmem.encoder.anatomy import Anatomy
from kmem.encoder.capture import Projections, run_prefix
from kmem.encoder.rope import unrotate
from kmem.errors import UnsupportedModelError

PROBE_TOKENS = 8
SHIFT = 37
SAME = 0.05
"""Relative distance below which two sets of float32 keys are the same: measured under 1e-4, another position is at 0.3 and more."""
NEARER = 0.75
"""In bfloat16 the hidden states themselves drift (SmolLM2: 0.2 from layer 12 on), so there it must only be nearer by this factor."""


def rotated_layers(model: PreTrainedModel, anatomy: Anatomy, last_layer: int) -> tuple[bool, ...]:
    """For layers 0..last_layer, whether keys depend on the position (some models leave RoPE out of some layers).

    The same tokens are run at two positions: their keys are equal either as they are or rotated back. Raises UnsupportedModelError
    when they are neither, or have another shape than the configuration says.
    """
    rotated: list[bool] = []

    def receive(projections: Projections) -> None:
        layer, found = projections.layer, tuple(projections.key.shape[1:])
        if found != (anatomy.heads, PROBE_TOKENS, anatomy.head_dim):
            raise UnsupportedModelError(
                f"Layer {layer} gives keys of shape [heads, tokens, dim] {found}, its configuration says "
                f"{(anatomy.heads, PROBE_TOKENS, anatomy.head_dim)}; memories can't be laid out for it."
            )
        _, plain = unrotate(projections.module, projections.query, projections.key, projections.cos, projections.sin)
        as_is, undone = _distance(projections.key), _distance(plain)
        rotated.append(undone < as_is)
        limit = SAME if projections.key.dtype in (torch.float32, torch.float64) else NEARER * max(as_is, undone)
        if min(as_is, undone) > limit:
            raise UnsupportedModelError(f"The positions in the keys of layer {layer} can't be undone, so tokens can't be selected there.")

    ids = (torch.arange(PROBE_TOKENS, device=model.device) % model.config.get_text_config().vocab_size).expand(2, -1)
    positions = torch.arange(1, PROBE_TOKENS + 1, device=model.device) + torch.tensor([[0], [SHIFT]], device=model.device)
    run_prefix(model, ids, torch.ones_like(ids), positions, last_layer=last_layer, receive=receive)
    return tuple(rotated)


def _distance(keys: Tensor) -> float:
    """Relative distance of the two rows of keys [2, H, T, D]."""
    first, second = keys.float()
    return float((first - second).norm() / first.norm().clamp(min=1e-30))
