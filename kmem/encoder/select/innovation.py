"""Keep what the tokens before did not foretell: B'MOJO's rule for its eidetic store (arXiv 2407.06324; docs/bmojo.md), for any model."""

from torch import Tensor

from kmem.encoder.select.view import LayerView
from kmem.models.bmojo.innovation import average_before, prediction_error
from kmem.models.bmojo.priority import STEPS

TOKENS = 4
"""Tokens before, whose average is the prediction."""


def innovation(view: LayerView) -> Tensor:
    """Mean over channels of (LN(u_t) − LN(p_t))², u what the layer is given and p_t the mean of the reference's 4 tokens before.

    Counted in steps of 1/1024 as a B'MOJO layer counts it; the heads of a layer keep the same tokens.
    """
    predicted, _ = average_before(view.hidden, None, TOKENS)
    error = (prediction_error(view.hidden, predicted) * STEPS).round()
    return error[:, None].expand(-1, len(view.heads), -1)
