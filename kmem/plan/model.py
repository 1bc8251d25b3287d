"""The shape of a real model, from its configuration alone."""

from typing import Any

from torch import nn

from kmem.encoder.anatomy import examine
from kmem.encoder.load import load_outline
from kmem.errors import UnsupportedModelError
from kmem.plan.shape import Shape

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
"""How configurations call the number of a mixture's experts."""


def model_shape(name: str) -> Shape:
    """The shape of a model that `load_model` would load, without loading its weights; an MLP of other than three matrices counts as the
    gated one with as many weights.

    Raises what `load_model` does, and UnsupportedModelError for a mixture of experts and for B'MOJO.
    """
    model = load_outline(name)
    config, anatomy = model.config.get_text_config(), examine(model)
    if any((getattr(config, entry, None) or 1) > 1 for entry in EXPERTS):
        raise UnsupportedModelError(
            f"{name} is a mixture of experts, of which a token meets a few, so App. A's formulas don't fit; "
            "give the shape by --layers and its like, with the width of all experts a token meets as --mlp-width."
        )
    if getattr(config, "mixers", None):
        raise UnsupportedModelError(
            f"{name} mixes tokens by {', '.join(dict.fromkeys(config.mixers))}, which App. A's formulas of plain attention don't fit; "
            "give the shape of a plain model by --layers and its like."
        )
    blocks: Any = anatomy.decoder.layers
    weights = sum(map(_mlp_weights, blocks))
    return Shape(
        layers=anatomy.layers,
        width=config.hidden_size,
        query_heads=anatomy.query_heads,
        heads=anatomy.heads,
        head_dim=anatomy.head_dim,
        mlp_width=round(weights / anatomy.layers / (3 * config.hidden_size)),
        vocabulary=config.vocab_size,
    )


def _mlp_weights(layer: nn.Module) -> int:
    """Numbers of a block's matrices outside its attention."""
    others: list[Any] = [child for child in layer.children() if not hasattr(child, "layer_idx")]
    return sum(parameter.numel() for child in others for parameter in child.parameters() if parameter.ndim > 1)
